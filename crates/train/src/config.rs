//! The `[training]` table, shared by pretraining and fine-tuning.

use polymath_ops::Precision;
use serde::{Deserialize, Serialize};

use crate::{Length, TrainError};

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

/// Maximum number of tokens and of steps of a run.
const MAX_TOKENS: u64 = 1_000_000_000_000_000_000;
/// Rows of a step if a config sets the length of the run but not the number of rows.
pub const BATCH_SIZE: usize = 16;
/// Maximum number of rows of a step.
const MAX_ROWS: u64 = 1 << 20;
/// Maximum number of tokens in a row.
const MAX_ROW_LENGTH: u64 = 1 << 24;

/// Pairs of keys of which a config may set only one, for `polymath_config::load_exclusive`.
pub const EXCLUSIVE_KEYS: &[[&str; 2]] = &[
    ["training.tokens", "training.steps"],
    ["training.tokens", "training.epochs"],
    ["training.steps", "training.epochs"],
];

/// The `[training]` table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingConfig {
    /// Number of tokens to train on, without padding, such as `2_000_000` or `"2M"`. Set only one of `tokens`,
    /// `steps` and `epochs`. Default: a number that suits the data and the model.
    #[serde(
        default,
        deserialize_with = "polymath_config::optional_count",
        skip_serializing_if = "Option::is_none"
    )]
    pub tokens: Option<u64>,
    /// Number of optimizer steps, such as `3000` or `"3k"`. Set only one of `tokens`, `steps` and `epochs`.
    #[serde(
        default,
        deserialize_with = "polymath_config::optional_count",
        skip_serializing_if = "Option::is_none"
    )]
    pub steps: Option<u64>,
    /// Number of passes over the training text (in pretraining, of all domains together). Set only one of `tokens`,
    /// `steps` and `epochs`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epochs: Option<f64>,
    /// Rows of each optimizer step; default: 16, or a number that suits the length if the program chooses the length.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_size: Option<usize>,
    /// Tokens in a row; default: 256, or the base's context if that is shorter. For a fine-tuning on examples with
    /// prompts, the default is long enough for the examples.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence_length: Option<usize>,
    /// Number of parts in which a step's rows are computed (gradient accumulation). More parts take less memory and
    /// give the same result.
    #[serde(default = "default::accumulation_steps")]
    pub accumulation_steps: usize,
    /// Peak learning rate; default: 1e-3 for pretraining and 3e-4 for fine-tuning, or a value that suits the model if
    /// the program chooses the length.
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
    /// Share of the run during which the learning rate decays, with `schedule = "wsd"`.
    #[serde(default = "default::decay_fraction")]
    pub decay_fraction: f64,
    /// Optimizer. Both take the same learning rate.
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
    /// AdamW ε, added to the denominator of the update.
    #[serde(default = "default::epsilon")]
    pub epsilon: f64,
    /// Maximum gradient norm (L2 over all parameters), to which longer gradients are clipped; 0 disables clipping.
    #[serde(default = "default::gradient_clip")]
    pub gradient_clip: f64,
    /// Weight of the z-loss: the square of the logarithm of the softmax's sum is added to each token's loss (and to
    /// the logged `loss`), which keeps the logits from drifting; 1e-4 is usual, 0 disables it.
    #[serde(default)]
    pub z_loss: f64,
    /// Activations that the backward pass recomputes instead of storing them; with `block`, everything in a block but
    /// its input.
    #[serde(default)]
    pub recompute: Recompute,
    /// Precision: `f32`, or `bf16` for the inputs of matrix products.
    #[serde(default)]
    pub precision: Precision,
}

/// Activations that the backward pass recomputes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Recompute {
    /// All activations are stored, and none is recomputed.
    #[default]
    None,
    /// Everything but each layer's input, one layer at a time. Takes about 25 % more time.
    Block,
}

impl Recompute {
    /// Returns true if all activations are stored.
    pub fn is_none(&self) -> bool {
        *self == Self::None
    }
}

/// Default values. Each is defined only here.
mod default {
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
}

impl Default for TrainingConfig {
    fn default() -> Self {
        toml::from_str("").expect("every key has a default")
    }
}

impl TrainingConfig {
    /// Returns true if the config sets the length of the run.
    pub fn has_length(&self) -> bool {
        self.tokens.is_some() || self.steps.is_some() || self.epochs.is_some()
    }

    /// Checks every value.
    ///
    /// # Errors
    /// Fails with the key, its value, and the expected values.
    pub fn validate(&self) -> Result<(), TrainError> {
        let refuse = |message: String| Err(TrainError::Config(message));
        let lengths = [
            ("tokens", self.tokens.is_some()),
            ("steps", self.steps.is_some()),
            ("epochs", self.epochs.is_some()),
        ];
        let given: Vec<&str> = lengths
            .into_iter()
            .filter_map(|(key, given)| given.then_some(key))
            .collect();
        if let [one, other, ..] = given[..] {
            return refuse(format!(
                "`training.{one}` and `training.{other}` are both given: choose one"
            ));
        }
        let counts = [
            ("tokens", self.tokens, MAX_TOKENS),
            ("steps", self.steps, MAX_TOKENS),
            (
                "batch_size",
                self.batch_size.map(|rows| rows as u64),
                MAX_ROWS,
            ),
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
        self.validate_numbers()
    }

    /// Checks the range of every number that is not an integer.
    fn validate_numbers(&self) -> Result<(), TrainError> {
        let smallest = f64::MIN_POSITIVE;
        let below_one = 1.0 - f64::EPSILON;
        let ratio = self.minimum_learning_rate_ratio;
        let numbers = [
            (
                "epochs",
                self.epochs.unwrap_or(1.0),
                smallest..=1e6,
                "above 0, up to 1000000",
            ),
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
}

impl crate::Training {
    /// Checks the values that depend on each other: the parts must divide the rows, the warmup must not be longer
    /// than the run, and the total number of tokens must be below its maximum.
    ///
    /// # Errors
    /// Fails with the key, its value, and the expected values.
    pub fn validate(&self) -> Result<(), TrainError> {
        let refuse = |message: String| Err(TrainError::Config(message));
        if !self.batch_size.is_multiple_of(self.accumulation_steps) {
            return refuse(format!(
                "`training.accumulation_steps` = `{}` does not divide `training.batch_size` = `{}`: choose a divisor",
                self.accumulation_steps, self.batch_size
            ));
        }
        if let Length::Tokens(tokens) = self.length
            && tokens > MAX_TOKENS
        {
            return refuse(format!(
                "a run of {tokens} tokens: expected at most {MAX_TOKENS}"
            ));
        }
        let total = self.total_steps(0.0);
        if self.warmup_steps > total {
            return refuse(format!(
                "`training.warmup_steps` = `{}` is longer than the run of {total} steps, which would never reach its \
                 learning rate: lower it, or lengthen the run",
                self.warmup_steps
            ));
        }
        let tokens = u128::from(total) * self.batch_size as u128 * self.sequence_length as u128;
        if tokens > u128::from(MAX_TOKENS) {
            return refuse(format!(
                "a run of {total} steps of `training.batch_size` = `{}` rows of {} tokens: expected at most \
                 {MAX_TOKENS} tokens in all",
                self.batch_size, self.sequence_length
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> TrainingConfig {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn contradictions_name_their_keys() {
        for (text, expected) in [
            (
                "tokens = 5\nsteps = 5",
                "`training.tokens` and `training.steps` are both given: choose one",
            ),
            (
                "steps = 5\nepochs = 1.0",
                "`training.steps` and `training.epochs` are both given: choose one",
            ),
            (
                "epochs = 0",
                "`training.epochs` = `0`: expected a number above 0",
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
        ] {
            let error = read(text).validate().unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        read("steps = 5").validate().unwrap();
    }

    /// Checks that a warmup may be as long as the run but no longer, that the parts must divide the rows, and that
    /// the total number of tokens has a maximum.
    #[test]
    fn warmup_parts_and_tokens_must_fit_the_run() {
        let error = |text: &str| {
            let defaults = crate::TrainingDefaults {
                length: Length::Steps(1),
                batch_size: 16,
                sequence_length: 100,
                learning_rate: 1e-3,
                padding: 0.0,
                epoch_tokens: 100,
            };
            let training = read(text).resolve(&defaults);
            training.validate().map_err(|e| e.to_string())
        };
        assert_eq!(error("steps = 5\nwarmup_steps = 5"), Ok(()));
        for (text, expected) in [
            (
                "steps = 5\nwarmup_steps = 6",
                "`training.warmup_steps` = `6` is longer than the run of 5 steps",
            ),
            (
                "tokens = 1000\nbatch_size = 2\nwarmup_steps = 6",
                "the run of 5 steps",
            ),
            (
                "steps = 5\nbatch_size = 3\naccumulation_steps = 2",
                "does not divide `training.batch_size` = `3`",
            ),
            ("steps = 900000000000000000", "tokens in all"),
        ] {
            let said = error(text).unwrap_err();
            assert!(said.contains(expected), "{said}");
        }
    }
}
