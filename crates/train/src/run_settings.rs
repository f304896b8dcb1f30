//! Settings of the training loop.

use std::sync::atomic::AtomicBool;

use polymath_ops::Ops;

use crate::{Checkpointing, Evaluation, Training};

/// Settings of the training loop for one run, without model and data.
pub struct Fit<'a> {
    /// Resolved `[training]` table.
    pub training: &'a Training,
    /// Interval of evaluations, and the number of tokens that each scores.
    pub evaluation: &'a Evaluation,
    /// True to evaluate the initial weights before the first step, which is useful for a base but not for random
    /// weights.
    pub evaluate_first: bool,
    /// Interval of checkpoints, and which checkpoints to keep.
    pub checkpoint: &'a Checkpointing,
    /// Random seed of the run, saved with it.
    pub seed: u64,
    /// Fingerprint of the data, saved with the run and compared on resuming.
    pub data_fingerprint: String,
    /// Implementation of the tensor operations that the optimizer uses.
    pub ops: Ops,
    /// Flag that is set from outside to stop the run after the current step.
    pub stop: &'a AtomicBool,
}
