//! Outcome of a run.

use crate::checkpoint::{Best, RunState};

/// Outcome of a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Outcome {
    /// All steps are done.
    Finished {
        /// Number of steps.
        steps: u64,
        /// The best evaluation; none if every score was NaN.
        best: Option<Best>,
    },
    /// Stopped from outside, and saved after this step.
    Interrupted {
        /// Last completed step.
        step: u64,
    },
}

impl Outcome {
    /// Returns the outcome of a run whose last state is `state`.
    pub(crate) fn of(state: &RunState) -> Self {
        Self::Finished {
            steps: state.step,
            best: state.best,
        }
    }
}
