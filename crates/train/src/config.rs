//! The tables `[training]`, `[evaluation]` and `[checkpoint]`, which both phases share.

use serde::{Deserialize, Serialize};

use crate::TrainError;

/// How the learning rate goes over the run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// Warmup, then half a cosine down to the minimum.
    #[default]
    Cosine,
    /// Warmup, a constant stretch, then a straight line down to the minimum (warmup-stable-decay).
    Wsd,
    /// Warmup, then constant.
    Constant,
}

/// The `[training]` table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingConfig {
    /// Tokens to train on; or `steps`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    /// Optimizer steps; or `tokens`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<u64>,
    /// Rows of each optimizer step.
    #[serde(default = "default::batch_size")]
    pub batch_size: usize,
    /// Tokens of a row; default: 256, or what the base was trained with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence_length: Option<usize>,
    /// A step's rows are computed in so many parts, which divides the memory and not the result.
    #[serde(default = "default::accumulation_steps")]
    pub accumulation_steps: usize,
    /// Peak learning rate; default: 1e-3 for pretraining, 3e-4 for fine-tuning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub learning_rate: Option<f64>,
    /// Where the schedule ends, as a share of the peak.
    #[serde(default = "default::minimum_learning_rate_ratio")]
    pub minimum_learning_rate_ratio: f64,
    /// Steps of linear warmup; default: 2 % of the run, at most 500.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warmup_steps: Option<u64>,
    /// How the learning rate goes after the warmup.
    #[serde(default)]
    pub schedule: Schedule,
    /// With `schedule = "wsd"`: the share of the run that decays.
    #[serde(default = "default::decay_fraction")]
    pub decay_fraction: f64,
    /// Decoupled weight decay, on matrices only.
    #[serde(default = "default::weight_decay")]
    pub weight_decay: f64,
    /// Memory of the mean gradient.
    #[serde(default = "default::beta1")]
    pub beta1: f64,
    /// Memory of the mean squared gradient.
    #[serde(default = "default::beta2")]
    pub beta2: f64,
    /// What keeps the update finite.
    #[serde(default = "default::epsilon")]
    pub epsilon: f64,
    /// Longest gradient (L2 norm over all parameters); 0 turns clipping off.
    #[serde(default = "default::gradient_clip")]
    pub gradient_clip: f64,
    /// `f32`, or `bf16` for the inputs of matrix products.
    #[serde(default = "default::precision")]
    pub precision: String,
}

/// Each default stands here and nowhere else.
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

/// The `[evaluation]` table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EvaluationConfig {
    /// Steps between two evaluations.
    pub every: u64,
    /// Held-out tokens of each domain that are scored on the way (the report scores them all).
    pub max_tokens: u64,
}

impl Default for EvaluationConfig {
    fn default() -> Self {
        Self {
            every: 200,
            max_tokens: 20_000,
        }
    }
}

/// The `[checkpoint]` table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CheckpointConfig {
    /// Steps between two checkpoints; default: as often as an evaluation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub every: Option<u64>,
    /// How many to keep, besides the best one.
    pub keep: usize,
}

impl Default for CheckpointConfig {
    fn default() -> Self {
        Self {
            every: None,
            keep: 2,
        }
    }
}

impl TrainingConfig {
    /// Optimizer steps of the run, of `sequence_length` tokens a row.
    pub fn total_steps(&self, sequence_length: usize) -> u64 {
        let tokens_per_step = (self.batch_size * sequence_length).max(1) as u64;
        match (self.steps, self.tokens) {
            (Some(steps), _) => steps,
            (None, Some(tokens)) => tokens.div_ceil(tokens_per_step),
            (None, None) => 0,
        }
    }

    /// Checks every value.
    ///
    /// # Errors
    /// The key at fault, its value, and what was expected.
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
            (Some(0), _) | (_, Some(0)) => {
                return refuse("`training.tokens` or `training.steps` is 0: nothing to do".into());
            }
            _ => {}
        }
        if self.batch_size == 0 || self.sequence_length == Some(0) || self.accumulation_steps == 0 {
            return refuse(
                "`training.batch_size`, `training.sequence_length` and `training.accumulation_steps` must be at least 1"
                    .into(),
            );
        }
        if !self.batch_size.is_multiple_of(self.accumulation_steps) {
            return refuse(format!(
                "`training.accumulation_steps` = {} does not divide `training.batch_size` = {}",
                self.accumulation_steps, self.batch_size
            ));
        }
        let shares = [
            (
                "minimum_learning_rate_ratio",
                self.minimum_learning_rate_ratio,
                1.0,
            ),
            ("decay_fraction", self.decay_fraction, 1.0),
            ("beta1", self.beta1, 0.999_999_9),
            ("beta2", self.beta2, 0.999_999_9),
            ("weight_decay", self.weight_decay, f64::MAX),
            ("gradient_clip", self.gradient_clip, f64::MAX),
            ("epsilon", self.epsilon, 1.0),
            (
                "learning_rate",
                self.learning_rate.unwrap_or_default(),
                f64::MAX,
            ),
        ];
        for (key, value, highest) in shares {
            if !(0.0..=highest).contains(&value) {
                return refuse(format!("`training.{key}` = {value} is out of range"));
            }
        }
        self.precision().map(drop)
    }

    /// The precision of matrix products.
    ///
    /// # Errors
    /// A name that is not one.
    pub fn precision(&self) -> Result<polymath_ops::Precision, TrainError> {
        self.precision.parse().map_err(|_| {
            TrainError::Config(format!(
                "`training.precision` = `{}`: expected `f32` or `bf16`",
                self.precision
            ))
        })
    }
}

impl EvaluationConfig {
    /// Checks every value.
    ///
    /// # Errors
    /// The key at fault.
    pub fn validate(&self) -> Result<(), TrainError> {
        if self.every == 0 || self.max_tokens == 0 {
            return Err(TrainError::Config(
                "`evaluation.every` and `evaluation.max_tokens` must be at least 1".into(),
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
    fn tokens_become_whole_steps() {
        assert_eq!(read("tokens = 1000\nbatch_size = 2").total_steps(100), 5);
        assert_eq!(read("tokens = 1001\nbatch_size = 2").total_steps(100), 6);
        assert_eq!(read("steps = 7").total_steps(100), 7);
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
                "does not divide `training.batch_size` = 3",
            ),
            ("steps = 5\nbeta2 = 1.0", "`training.beta2` = 1"),
            (
                "steps = 5\nlearning_rate = -1.0",
                "`training.learning_rate` = -1",
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
}
