//! Resolved settings of the training loop: every default has its value.

use polymath_ops::Precision;
use serde::Serialize;

use crate::{Extension, OptimizerChoice, Recompute, Schedule, TrainingConfig};

/// Maximum of the default warmup, in steps.
const MAX_DEFAULT_WARMUP: u64 = 500;

/// Length of a run, in tokens or in steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Length {
    /// Number of tokens to train on, without padding.
    Tokens(u64),
    /// Number of optimizer steps.
    Steps(u64),
}

/// Defaults of keys in `[training]` that differ between pretraining and fine-tuning.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TrainingDefaults {
    /// Default length of the run.
    pub length: Length,
    /// Default number of rows in a step.
    pub batch_size: usize,
    /// Default number of tokens in a row.
    pub sequence_length: usize,
    /// Default peak learning rate.
    pub learning_rate: f64,
    /// Default optimizer of the trained parameters.
    pub optimizer: OptimizerChoice,
    /// Default decoupled weight decay.
    pub weight_decay: f64,
    /// Share of padding among the positions of a batch.
    pub padding: f64,
    /// Number of tokens in one pass over the training text.
    pub epoch_tokens: u64,
    /// Number of tokens to compute in one pass; larger batches are divided into parts (gradient accumulation). `None`
    /// to compute all rows of a step at once.
    pub tokens_at_once: Option<usize>,
}

impl TrainingDefaults {
    /// Placeholder values for a table that needs no defaults because it sets every key, such as that of a saved run.
    pub(crate) const UNUSED: Self = Self {
        length: Length::Steps(0),
        batch_size: 1,
        sequence_length: 1,
        learning_rate: 1.0,
        optimizer: OptimizerChoice::Adamw,
        weight_decay: 0.0,
        padding: 0.0,
        epoch_tokens: 1,
        tokens_at_once: None,
    };
}

/// Resolved `[training]` table: the fields of [`TrainingConfig`] with every default filled in.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[allow(missing_docs, reason = "documented in `TrainingConfig`")]
pub struct Training {
    /// Number of tokens or steps, stored under the key `tokens` or `steps`.
    #[serde(flatten)]
    pub length: Length,
    pub batch_size: usize,
    pub sequence_length: usize,
    pub accumulation_steps: usize,
    pub learning_rate: f64,
    pub minimum_learning_rate_ratio: f64,
    pub warmup_steps: u64,
    pub schedule: Schedule,
    pub decay_fraction: f64,
    pub optimizer: OptimizerChoice,
    pub momentum: f64,
    pub weight_decay: f64,
    pub beta1: f64,
    pub beta2: f64,
    pub epsilon: f64,
    pub gradient_clip: f64,
    pub z_loss: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recompute: Option<Recompute>,
    pub precision: Precision,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub extensions: Vec<Extension>,
}

impl Training {
    /// Returns the number of optimizer steps of the run. `padding` is the share of padding among the positions of a
    /// batch.
    pub fn total_steps(&self, padding: f64) -> u64 {
        let positions = (self.batch_size * self.sequence_length).max(1) as u64;
        match self.length {
            Length::Steps(steps) => steps,
            Length::Tokens(tokens) if padding > 0.0 => {
                (tokens as f64 / (positions as f64 * (1.0 - padding))).ceil() as u64
            }
            Length::Tokens(tokens) => tokens.div_ceil(positions),
        }
    }

    /// Describes the keys that differ from their default and have no effect with these settings; `None` if there are
    /// none.
    pub fn without_effect(&self) -> Option<String> {
        let usual = TrainingConfig::default();
        let is_wsd = self.schedule == Schedule::Wsd;
        let decays = self.schedule != Schedule::Constant;
        let ratio = self.minimum_learning_rate_ratio != usual.minimum_learning_rate_ratio;
        let is_muon = self.optimizer == OptimizerChoice::Muon;
        let unused = [
            (
                "`training.decay_fraction` (only with `schedule = \"wsd\"`)",
                self.decay_fraction != usual.decay_fraction && !is_wsd,
            ),
            (
                "`training.minimum_learning_rate_ratio` (not with `schedule = \"constant\"`)",
                ratio && !decays,
            ),
            (
                "`training.momentum` (only with `optimizer = \"muon\"`)",
                self.momentum != usual.momentum && !is_muon,
            ),
        ];
        let named = unused.iter().filter(|(_, is_unused)| *is_unused);
        let named: Vec<&str> = named.map(|(key, _)| *key).collect();
        (!named.is_empty()).then(|| format!("without effect: {}", named.join(", ")))
    }
}

impl TrainingConfig {
    /// Returns the settings with every default filled in.
    pub fn resolve(&self, defaults: &TrainingDefaults) -> Training {
        let length = match (self.steps, self.tokens, self.epochs) {
            (Some(steps), ..) => Length::Steps(steps),
            (_, Some(tokens), _) => Length::Tokens(tokens),
            (.., Some(epochs)) => {
                Length::Tokens(((defaults.epoch_tokens as f64 * epochs).round() as u64).max(1))
            }
            (None, None, None) => defaults.length,
        };
        let mut training = Training {
            length,
            batch_size: self.batch_size.unwrap_or(defaults.batch_size),
            sequence_length: self.sequence_length.unwrap_or(defaults.sequence_length),
            accumulation_steps: 1,
            learning_rate: self.learning_rate.unwrap_or(defaults.learning_rate),
            minimum_learning_rate_ratio: self.minimum_learning_rate_ratio,
            warmup_steps: 0,
            schedule: self.schedule,
            decay_fraction: self.decay_fraction,
            optimizer: self.optimizer.unwrap_or(defaults.optimizer),
            momentum: self.momentum,
            weight_decay: self.weight_decay.unwrap_or(defaults.weight_decay),
            beta1: self.beta1,
            beta2: self.beta2,
            epsilon: self.epsilon,
            gradient_clip: self.gradient_clip,
            z_loss: self.z_loss,
            recompute: self.recompute,
            precision: self.precision,
            extensions: self.extensions.clone(),
        };
        training.accumulation_steps = self.accumulation_steps.unwrap_or_else(|| {
            let all = training.batch_size.saturating_mul(training.sequence_length);
            parts(&training, defaults.tokens_at_once.unwrap_or(all))
        });
        let total = training.total_steps(defaults.padding);
        training.warmup_steps = self
            .warmup_steps
            .unwrap_or((total / 50).min(MAX_DEFAULT_WARMUP));
        training
    }
}

/// Returns the smallest number of equally large parts of `rows` rows such that no part has more than `tokens` tokens,
/// unless a single row has.
fn parts(training: &Training, tokens: usize) -> usize {
    let rows = training.batch_size.max(1);
    let fits = |parts: &usize| (rows / parts).saturating_mul(training.sequence_length) <= tokens;
    let divisors = (1..=rows).filter(|parts| rows.is_multiple_of(*parts));
    divisors.into_iter().find(fits).unwrap_or(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULTS: TrainingDefaults = TrainingDefaults {
        length: Length::Steps(3),
        batch_size: 2,
        sequence_length: 100,
        learning_rate: 0.5,
        optimizer: OptimizerChoice::Muon,
        weight_decay: 0.25,
        padding: 0.0,
        epoch_tokens: 3000,
        tokens_at_once: None,
    };

    fn read(text: &str, padding: f64) -> Training {
        let config: TrainingConfig = toml::from_str(text).unwrap();
        config.resolve(&TrainingDefaults {
            padding,
            ..DEFAULTS
        })
    }

    #[test]
    fn tokens_become_whole_steps() {
        let steps = |text: &str, padding: f64| read(text, padding).total_steps(padding);
        assert_eq!(steps("tokens = 1000", 0.0), 5);
        assert_eq!(steps("tokens = 1001", 0.0), 6);
        assert_eq!(steps("steps = 7", 0.0), 7);
        // 150 of the 200 positions of a step hold a token.
        assert_eq!(steps("tokens = 1050", 0.25), 7);
        assert_eq!(steps("tokens = 1051", 0.25), 8);
        assert_eq!(steps("steps = 7", 0.25), 7);
        assert_eq!(steps("epochs = 0.5", 0.0), 8);
        assert_eq!(steps("", 0.0), 3);
    }

    /// Checks that keys which belong to another schedule or optimizer are named, and no others.
    #[test]
    fn keys_without_effect_are_named() {
        let named = |text: &str| read(text, 0.0).without_effect().unwrap_or_default();
        let decay = named("decay_fraction = 0.5");
        assert!(decay.contains("`training.decay_fraction`"), "{decay}");
        assert_eq!(named("decay_fraction = 0.5\nschedule = \"wsd\""), "");
        let both = named(
            "schedule = \"constant\"\nminimum_learning_rate_ratio = 0.5\nmomentum = 0.5\noptimizer = \"adamw\"",
        );
        assert!(
            both.contains("_ratio`") && both.contains("`training.momentum`"),
            "{both}"
        );
        assert_eq!(
            named("minimum_learning_rate_ratio = 0.5\nmomentum = 0.5"),
            ""
        );
    }

    /// Checks that by default, the rows of a step are divided into the fewest equal parts of at most `tokens_at_once`
    /// tokens, and that a number of parts in the config takes precedence.
    #[test]
    fn rows_are_divided_by_tokens() {
        let parts = |text: &str, tokens_at_once: Option<usize>| {
            let config: TrainingConfig = toml::from_str(text).unwrap();
            let defaults = TrainingDefaults {
                tokens_at_once,
                ..DEFAULTS
            };
            config.resolve(&defaults).accumulation_steps
        };
        let rows = "batch_size = 12\nsequence_length = 100";
        for (tokens, expected) in [(1200, 1), (1199, 2), (600, 2), (599, 3), (250, 6), (99, 12)] {
            assert_eq!(parts(rows, Some(tokens)), expected, "{tokens}");
        }
        assert_eq!(parts(rows, None), 1);
        assert_eq!(
            parts(&format!("{rows}\naccumulation_steps = 4"), Some(99)),
            4
        );
    }

    /// Checks that a resolved `[training]` table is a valid config, and that resolving it again changes nothing. Saved
    /// runs are compared in this form.
    #[test]
    fn a_resolved_table_resolves_to_itself() {
        for text in ["tokens = 90_000", "steps = 200", "epochs = 20", ""] {
            let resolved = read(text, 0.25);
            let saved = toml::to_string(&resolved).unwrap();
            for key in [
                "sequence_length",
                "warmup_steps",
                "learning_rate",
                "batch_size",
                "optimizer",
                "weight_decay",
            ] {
                assert!(saved.contains(&format!("{key} = ")), "{saved}");
            }
            let again: TrainingConfig = toml::from_str(&saved).unwrap();
            let others = TrainingDefaults {
                length: Length::Steps(9),
                batch_size: 7,
                sequence_length: 9,
                learning_rate: 0.1,
                optimizer: OptimizerChoice::Adamw,
                weight_decay: 0.0,
                padding: 0.0,
                epoch_tokens: 1,
                tokens_at_once: None,
            };
            assert_eq!(again.resolve(&others), resolved, "{saved}");
        }
    }
}
