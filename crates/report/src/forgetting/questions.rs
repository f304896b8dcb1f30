//! Comparison of the answers to questions that have one exact answer.

use serde::{Deserialize, Serialize};

use super::tasks::PairedAnswers;
use super::{AccuracyReport, ModelScores};
use crate::ReportError;

/// Accuracy of base and tuned model on questions that have one exact answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QuestionReport {
    /// Domain of the questions.
    pub domain: String,
    /// Number of questions.
    pub count: usize,
    /// Number of independent groups, since questions made from one template are not independent.
    pub groups: usize,
    /// Shares of correctly answered questions for base and tuned model, and their difference.
    #[serde(flatten)]
    pub accuracy: AccuracyReport,
}

/// Compares the answers of a run with those of the base, by domain.
///
/// # Errors
/// Fails if base and run were not asked the same questions.
pub fn compare(base: &ModelScores, run: &ModelScores) -> Result<Vec<QuestionReport>, ReportError> {
    let asked = run.questions.iter().filter(|(_, after)| !after.is_empty());
    asked
        .map(|(domain, after)| {
            let before = base.questions.get(domain).map_or(&[][..], Vec::as_slice);
            if before.len() != after.len() {
                return Err(ReportError::Report(format!(
                    "base and `{}` were asked `{}` and `{}` questions of the domain `{domain}`: ask both the same questions",
                    run.path,
                    before.len(),
                    after.len()
                )));
            }
            let groups = base.question_groups.get(domain).map_or(&[][..], Vec::as_slice);
            if ![0, after.len()].contains(&groups.len()) {
                return Err(ReportError::Report(format!(
                    "there are groups of {} questions of the domain `{domain}`, but `{}` were asked",
                    groups.len(),
                    after.len()
                )));
            }
            Ok(QuestionReport {
                domain: domain.clone(),
                count: after.len(),
                groups: number_of_groups(groups).unwrap_or(after.len()),
                accuracy: AccuracyReport::of(PairedAnswers { base: before, tuned: after }, groups),
            })
        })
        .collect()
}

/// Returns the number of distinct groups, or `None` if no groups are stored.
fn number_of_groups(groups: &[u64]) -> Option<usize> {
    let mut groups = groups.to_vec();
    groups.sort_unstable();
    groups.dedup();
    (!groups.is_empty()).then_some(groups.len())
}
