//! The `[training]` table, shared by both phases.

use serde::{Deserialize, Serialize};

use crate::TrainError;

/// Shape of the learning-rate schedule.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// Linear warmup, then a half cosine down to the minimum.
    #[default]
    Cosine,
    /// Linear warmup, a constant phase, then a linear decay to the minimum (warmup-stable-decay).
    Wsd,
    /// Linear warmup, then constant.
    Constant,
}

/// Optimizer of the trainable parameters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OptimizerChoice {
    /// AdamW for all parameters ([Loshchilov & Hutter 2019](https://arxiv.org/abs/1711.05101)).
    #[default]
    Adamw,
    /// Muon for the matrices inside the layers, AdamW for the rest ([Jordan
    /// 2024](https://kellerjordan.github.io/posts/muon/)).
    Muon,
}

/// Upper bound of the tokens and of the steps of a run.
const MAX_TOKENS: u64 = 1_000_000_000_000_000_000;
/// Upper bound of the rows of a step.
const MAX_ROWS: u64 = 1 << 20;
/// Upper bound of the tokens of a row.
const MAX_ROW_LENGTH: u64 = 1 << 24;

/// Pairs of keys of which a config sets at most one, for `polymath_config::load_exclusive`.
pub const EXCLUSIVE_KEYS: &[[&str; 2]] = &[["training.tokens", "training.steps"]];

/// The `[training]` table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingConfig {
    /// Tokens to train on, padding not counted; or `steps`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    /// Optimizer steps; or `tokens`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<u64>,
    /// Rows of each optimizer step.
    #[serde(default = "default::batch_size")]
    pub batch_size: usize,
    /// Tokens of a row; default: 256, or the base's context where that is shorter. A fine-tuning on examples with
    /// prompts has rows in which they fit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence_length: Option<usize>,
    /// Parts in which a step's rows are computed: more parts take less memory and give the same result.
    #[serde(default = "default::accumulation_steps")]
    pub accumulation_steps: usize,
    /// Peak learning rate; default: 1e-3 for pretraining, 3e-4 for fine-tuning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub learning_rate: Option<f64>,
    /// Learning rate at the end of the schedule, as a share of the peak.
    #[serde(default = "default::minimum_learning_rate_ratio")]
    pub minimum_learning_rate_ratio: f64,
    /// Steps of linear warmup; default: 2 % of the run, at most 500.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warmup_steps: Option<u64>,
    /// Schedule of the learning rate after the warmup.
    #[serde(default)]
    pub schedule: Schedule,
    /// Share of the run that decays, with `schedule = "wsd"`.
    #[serde(default = "default::decay_fraction")]
    pub decay_fraction: f64,
    /// Optimizer; both take the same learning rate.
    #[serde(default)]
    pub optimizer: OptimizerChoice,
    /// Momentum of Muon, with `optimizer = "muon"`.
    #[serde(default = "default::momentum")]
    pub momentum: f64,
    /// Decoupled weight decay, on matrices only.
    #[serde(default = "default::weight_decay")]
    pub weight_decay: f64,
    /// AdamW β₁.
    #[serde(default = "default::beta1")]
    pub beta1: f64,
    /// AdamW β₂.
    #[serde(default = "default::beta2")]
    pub beta2: f64,
    /// AdamW ε, which keeps the update finite.
    #[serde(default = "default::epsilon")]
    pub epsilon: f64,
    /// Longest gradient (L2 norm over all parameters); 0 turns clipping off.
    #[serde(default = "default::gradient_clip")]
    pub gradient_clip: f64,
    /// Weight of the squared logarithm of the softmax's sum, which is added to each token's loss (and to the `loss`
    /// that is logged) and keeps the logits from drifting; 1e-4 is usual, 0 leaves it out.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub z_loss: f64,
    /// Activations that the backward pass computes again instead of keeping them: with `block`, all of a block but its
    /// input.
    #[serde(default, skip_serializing_if = "Recompute::is_none")]
    pub recompute: Recompute,
    /// Precision: `f32`, or `bf16` for the inputs of matrix products.
    #[serde(default = "default::precision")]
    pub precision: String,
}

/// Activations that the backward pass recomputes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Recompute {
    /// None: keeps all activations.
    #[default]
    None,
    /// Everything but each layer's input, one layer at a time, for about 25 % more time.
    Block,
}

impl Recompute {
    /// Returns true if all activations are kept.
    pub fn is_none(&self) -> bool {
        *self == Self::None
    }
}

/// Leaves the key out of a saved config, so that it equals one saved before the key existed.
#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands out references"
)]
fn is_zero(value: &f64) -> bool {
    *value == 0.0
}

/// Default values; each is defined here and nowhere else.
mod default {
    pub fn batch_size() -> usize {
        16
    }
    pub fn accumulation_steps() -> usize {
        1
    }
    pub fn minimum_learning_rate_ratio() -> f64 {
        0.1
    }
    pub fn decay_fraction() -> f64 {
        0.2
    }
    pub fn momentum() -> f64 {
        0.95
    }
    pub fn weight_decay() -> f64 {
        0.1
    }
    pub fn beta1() -> f64 {
        0.9
    }
    pub fn beta2() -> f64 {
        0.95
    }
    pub fn epsilon() -> f64 {
        1e-8
    }
    pub fn gradient_clip() -> f64 {
        1.0
    }
    pub fn precision() -> String {
        "f32".into()
    }
}

impl TrainingConfig {
    /// Returns the optimizer steps of the run, for rows of `sequence_length` positions of which the share `padding` is
    /// padding.
    pub fn total_steps(&self, sequence_length: usize, padding: f64) -> u64 {
        let positions = (self.batch_size * sequence_length).max(1) as u64;
        match (self.steps, self.tokens) {
            (Some(steps), _) => steps,
            (None, Some(tokens)) if padding > 0.0 => {
                (tokens as f64 / (positions as f64 * (1.0 - padding))).ceil() as u64
            }
            (None, Some(tokens)) => tokens.div_ceil(positions),
            (None, None) => 0,
        }
    }

    /// Checks every value.
    ///
    /// # Errors
    /// Names the key at fault, its value, and the expected values.
    pub fn validate(&self) -> Result<(), TrainError> {
        let refuse = |message: String| Err(TrainError::Config(message));
        match (self.tokens, self.steps) {
            (Some(_), Some(_)) => {
                return refuse(
                    "`training.tokens` and `training.steps` are both given: choose one".into(),
                );
            }
            (None, None) => {
                return refuse(
                    "neither `training.tokens` nor `training.steps` is given: one says how long to train".into(),
                );
            }
            _ => {}
        }
        let counts = [
            ("tokens", self.tokens, MAX_TOKENS),
            ("steps", self.steps, MAX_TOKENS),
            ("batch_size", Some(self.batch_size as u64), MAX_ROWS),
            (
                "sequence_length",
                self.sequence_length.map(|length| length as u64),
                MAX_ROW_LENGTH,
            ),
            (
                "accumulation_steps",
                Some(self.accumulation_steps as u64),
                MAX_ROWS,
            ),
            (
                "warmup_steps",
                self.warmup_steps.map(|steps| steps.max(1)),
                MAX_TOKENS,
            ),
        ];
        for (key, value, most) in counts {
            if value == Some(0) {
                return refuse(format!("`training.{key}` = `0`: expected at least 1"));
            }
            if let Some(value) = value.filter(|value| *value > most) {
                return refuse(format!(
                    "`training.{key}` = `{value}`: expected at most {most}"
                ));
            }
        }
        if !self.batch_size.is_multiple_of(self.accumulation_steps) {
            return refuse(format!(
                "`training.accumulation_steps` = `{}` does not divide `training.batch_size` = `{}`: choose a divisor",
                self.accumulation_steps, self.batch_size
            ));
        }
        self.validate_numbers()?;
        self.precision().map(drop)
    }

    /// Checks the values that depend on the row length: the warmup fits into the run, and the total of tokens can be
    /// counted.
    ///
    /// # Errors
    /// Names the key at fault, its value, and the expected values.
    pub fn validate_length(&self, sequence_length: usize) -> Result<(), TrainError> {
        let total = self.total_steps(sequence_length, 0.0);
        if let Some(warmup) = self.warmup_steps.filter(|warmup| *warmup > total) {
            return Err(TrainError::Config(format!(
                "`training.warmup_steps` = `{warmup}` is longer than the run of {total} steps, which would never reach its \
                 learning rate: lower it, or lengthen the run"
            )));
        }
        let tokens = total as u128 * self.batch_size as u128 * sequence_length as u128;
        if tokens > u128::from(MAX_TOKENS) {
            return Err(TrainError::Config(format!(
                "a run of {total} steps of `training.batch_size` = `{}` rows of {sequence_length} tokens: expected at most \
                 {MAX_TOKENS} tokens in all",
                self.batch_size
            )));
        }
        Ok(())
    }

    /// Checks the range of every real number.
    fn validate_numbers(&self) -> Result<(), TrainError> {
        let smallest = f64::MIN_POSITIVE;
        let below_one = 1.0 - f64::EPSILON;
        let ratio = self.minimum_learning_rate_ratio;
        let numbers = [
            (
                "learning_rate",
                self.learning_rate.unwrap_or(1.0),
                smallest..=f64::MAX,
                "above 0",
            ),
            (
                "minimum_learning_rate_ratio",
                ratio,
                0.0..=1.0,
                "from 0 to 1",
            ),
            (
                "decay_fraction",
                self.decay_fraction,
                0.0..=1.0,
                "from 0 to 1",
            ),
            (
                "momentum",
                self.momentum,
                0.0..=below_one,
                "from 0 to below 1",
            ),
            ("beta1", self.beta1, 0.0..=below_one, "from 0 to below 1"),
            ("beta2", self.beta2, 0.0..=below_one, "from 0 to below 1"),
            ("epsilon", self.epsilon, smallest..=1.0, "above 0, up to 1"),
            ("z_loss", self.z_loss, 0.0..=1.0, "from 0 to 1"),
            (
                "weight_decay",
                self.weight_decay,
                0.0..=f64::MAX,
                "0 or more",
            ),
            (
                "gradient_clip",
                self.gradient_clip,
                0.0..=f64::MAX,
                "0 (no clipping) or more",
            ),
        ];
        for (key, value, range, expected) in numbers {
            if !range.contains(&value) {
                return Err(TrainError::Config(format!(
                    "`training.{key}` = `{value}`: expected a number {expected}"
                )));
            }
        }
        Ok(())
    }

    /// Parses the precision of matrix products.
    ///
    /// # Errors
    /// An unknown name.
    pub fn precision(&self) -> Result<polymath_ops::Precision, TrainError> {
        self.precision.parse().map_err(|_| {
            TrainError::Config(format!(
                "`training.precision` = `{}`: expected `f32` or `bf16`",
                self.precision
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> TrainingConfig {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn tokens_become_whole_steps() {
        assert_eq!(
            read("tokens = 1000\nbatch_size = 2").total_steps(100, 0.0),
            5
        );
        assert_eq!(
            read("tokens = 1001\nbatch_size = 2").total_steps(100, 0.0),
            6
        );
        assert_eq!(read("steps = 7").total_steps(100, 0.0), 7);
        // 150 of a step's 200 positions hold a token.
        assert_eq!(
            read("tokens = 1050\nbatch_size = 2").total_steps(100, 0.25),
            7
        );
        assert_eq!(
            read("tokens = 1051\nbatch_size = 2").total_steps(100, 0.25),
            8
        );
        assert_eq!(read("steps = 7").total_steps(100, 0.25), 7);
    }

    #[test]
    fn contradictions_name_their_keys() {
        for (text, expected) in [
            (
                "tokens = 5\nsteps = 5",
                "`training.tokens` and `training.steps` are both given: choose one",
            ),
            ("", "neither `training.tokens` nor `training.steps`"),
            (
                "steps = 5\nbatch_size = 3\naccumulation_steps = 2",
                "does not divide `training.batch_size` = `3`",
            ),
            ("steps = 0", "`training.steps` = `0`: expected at least 1"),
            ("steps = 5\nbatch_size = 0", "`training.batch_size` = `0`"),
            ("steps = 5\nbeta2 = 1.0", "`training.beta2` = `1`"),
            ("steps = 5\nz_loss = -0.1", "`training.z_loss` = `-0.1`"),
            (
                "steps = 5\nlearning_rate = nan",
                "`training.learning_rate` = `NaN`",
            ),
            (
                "steps = 5\nlearning_rate = -1.0",
                "`training.learning_rate` = `-1`: expected a number above 0",
            ),
            (
                "steps = 5\nbatch_size = 9000000000000",
                "`training.batch_size` = `9000000000000`: expected at most",
            ),
            (
                "steps = 5\nsequence_length = 20000000",
                "`training.sequence_length` = `20000000`: expected at most",
            ),
            (
                "tokens = 9000000000000000000",
                "`training.tokens` = `9000000000000000000`: expected at most",
            ),
            (
                "steps = 5\nprecision = \"f64\"",
                "`training.precision` = `f64`",
            ),
        ] {
            let error = read(text).validate().unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        read("steps = 5").validate().unwrap();
    }

    /// Accepts a warmup as long as the run and no longer, and a total of tokens that can be counted.
    #[test]
    fn warmup_and_tokens_must_fit_the_run() {
        let error = |text: &str| read(text).validate_length(100).map_err(|e| e.to_string());
        assert_eq!(error("steps = 5\nwarmup_steps = 5"), Ok(()));
        let said = error("steps = 5\nwarmup_steps = 6").unwrap_err();
        assert!(
            said.contains("`training.warmup_steps` = `6` is longer than the run of 5 steps"),
            "{said}"
        );
        let said = error("tokens = 1000\nbatch_size = 2\nwarmup_steps = 6").unwrap_err();
        assert!(said.contains("the run of 5 steps"), "{said}");
        let said = error("steps = 900000000000000000").unwrap_err();
        assert!(said.contains("tokens in all"), "{said}");
    }
}
