//! Outcome of a run.

use crate::checkpoint::{Best, RunState};

/// Outcome of a run that was not ended by an error.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Outcome {
    /// All steps of the run are done.
    Finished {
        /// Number of steps of the run.
        steps: u64,
        /// Step and score of the best evaluation; `None` if every score was NaN.
        best: Option<Best>,
    },
    /// The run was stopped from outside and saved.
    Interrupted {
        /// Number of steps finished before the stop.
        step: u64,
    },
}

impl Outcome {
    /// Returns the outcome of a finished run, from the state at its last step.
    pub(crate) fn of(state: &RunState) -> Self {
        Self::Finished {
            steps: state.step,
            best: state.best,
        }
    }
}
