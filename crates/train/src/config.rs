//! The `[training]` table, shared by pretraining and fine-tuning.

mod validate;

use polymath_ops::Precision;
use serde::{Deserialize, Serialize};

use crate::Extension;

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

/// Rows of a step if a config sets the length of the run but not the number of rows.
pub const BATCH_SIZE: usize = 16;
/// Weight decay of a pretraining whose config has none.
pub const WEIGHT_DECAY: f64 = 0.1;

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
    /// Rows of each optimizer step; default: 16, or a number that suits the length if the program chooses the length
    /// or, in a fine-tuning, `epochs` sets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_size: Option<usize>,
    /// Tokens in a row; default: 256, or the base's context if that is shorter. For a fine-tuning on examples with
    /// prompts, the default is long enough for the examples.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence_length: Option<usize>,
    /// Number of parts in which a step's rows are computed (gradient accumulation). More parts take less memory and
    /// give the same result up to rounding. Default: 1; for an adapter, parts of at most 2048 tokens, which cost little
    /// time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accumulation_steps: Option<usize>,
    /// Peak learning rate; default for pretraining: 1e-3, or a value that suits the model if the program chooses the
    /// length; for fine-tuning: by method, optimizer and size of the base.
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
    /// Optimizer; default: AdamW for pretraining, and that of the base's run for fine-tuning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub optimizer: Option<OptimizerChoice>,
    /// Momentum of Muon, with `optimizer = "muon"`.
    #[serde(default = "default::momentum")]
    pub momentum: f64,
    /// Decoupled weight decay, on matrices only, towards zero; default: 0.1 for pretraining, and 0 for fine-tuning,
    /// where zero is not the base.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight_decay: Option<f64>,
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
    /// its input. The result is the same to the last bit. Default: `block` if the run does not fit into the free memory
    /// otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recompute: Option<Recompute>,
    /// Precision: `f32`, `tf32` (products on a GPU), or `bf16` for the inputs of matrix products and for what the
    /// backward pass keeps.
    #[serde(default)]
    pub precision: Precision,
    /// Points from which on the run has more steps than before; `--resume` writes them into `run.toml` where it extends
    /// a run. Not for a config.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extensions: Vec<Extension>,
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

/// Default values. Each is defined only here.
mod default {
    pub fn minimum_learning_rate_ratio() -> f64 {
        0.1
    }
    pub fn decay_fraction() -> f64 {
        0.2
    }
    pub fn momentum() -> f64 {
        0.95
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
}
