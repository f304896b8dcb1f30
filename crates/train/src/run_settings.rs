//! Settings of a run of the loop.

use std::sync::atomic::AtomicBool;

use polymath_ops::Ops;

use crate::{CheckpointConfig, EvaluationConfig, TrainingConfig};

/// Settings of a run, apart from its model and data.
pub struct Fit<'a> {
    /// The optimisation.
    pub training: &'a TrainingConfig,
    /// Tokens of a row.
    pub sequence_length: usize,
    /// Peak learning rate, as the phase chose it.
    pub learning_rate: f64,
    /// When to evaluate.
    pub evaluation: &'a EvaluationConfig,
    /// Whether what the run starts from is evaluated before the first step: a base is worth it, random weights are not.
    pub evaluate_first: bool,
    /// When to save, and what to keep.
    pub checkpoint: &'a CheckpointConfig,
    /// Of the run; saved with it.
    pub seed: u64,
    /// What the data are; saved with it, and compared on resuming.
    pub data_fingerprint: String,
    /// How the optimizer computes.
    pub ops: Ops,
    /// Set from outside to stop after the step in progress.
    pub stop: &'a AtomicBool,
}
