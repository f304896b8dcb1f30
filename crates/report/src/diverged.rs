//! Runs of a comparison that diverged.

use serde::Serialize;

/// A run that diverged and has no figures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diverged {
    /// The way, or the domain that was tuned on.
    pub name: String,
    /// Of the run.
    pub seed: u64,
    /// What training said.
    pub message: String,
}

/// A sentence that names the runs which diverged, in the form that `shown` gives to names and messages; `None` where none did.
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
            "Diverged, and in no figure here: {}. The figures of what they are a seed of are of the other seeds alone.",
            runs.join("; ")
        )
    })
}
