//! Runs of a comparison that diverged.

use serde::Serialize;

/// A run that diverged and has no figures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diverged {
    /// Method, or domain that was tuned on.
    pub name: String,
    /// Seed of the run.
    pub seed: u64,
    /// Error message of the training.
    pub message: String,
}

/// Returns a sentence that lists the diverged runs, with names and messages formatted by `shown`; `None` without any.
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
