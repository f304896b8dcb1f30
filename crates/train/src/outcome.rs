//! Outcome of a run.

use crate::checkpoint::State;

/// Outcome of a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Outcome {
    /// All steps are done.
    Finished {
        /// How many.
        steps: u64,
        /// The best evaluation's step and score.
        best: (u64, f64),
    },
    /// Stopped from outside, and saved after this step.
    Interrupted {
        /// The last step done.
        step: u64,
    },
}

impl Outcome {
    /// The end of a run whose last state is `state`.
    pub(crate) fn of(state: &State) -> Self {
        Self::Finished {
            steps: state.step,
            best: state
                .best
                .map_or((state.step, f64::NAN), |best| (best.step, best.score)),
        }
    }
}
