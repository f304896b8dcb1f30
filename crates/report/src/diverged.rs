//! Runs of a comparison that diverged.

use serde::Serialize;

/// Run that diverged and has no results.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diverged {
    /// Name of the method that was compared, or of the domain that was tuned on.
    pub name: String,
    /// Seed of the run.
    pub seed: u64,
    /// Error message of the training.
    pub message: String,
}

/// Returns a sentence that lists the diverged runs, or `None` if there are none. `shown` formats names and messages.
pub(crate) fn sentence(diverged: &[Diverged], shown: &dyn Fn(&str) -> String) -> Option<String> {
    let runs: Vec<String> = diverged
        .iter()
        .map(|run| {
            format!(
                "{} (seed {}: {})",
                shown(&run.name),
                run.seed,
                shown(&run.message)
            )
        })
        .collect();
    (!runs.is_empty()).then(|| {
        format!(
            "Diverged and left out: {}. Figures of these methods or domains are over the remaining seeds.",
            runs.join("; ")
        )
    })
}
