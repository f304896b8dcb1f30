//! Sentences on the questions that base and runs answer.

use super::wording::list;
use super::{ForgettingReport, QuestionReport, RunReport};
use crate::wording::count;

/// Minimum share of a domain's questions that the base answers, for a sentence about them: below it there is hardly
/// anything to forget.
const KNOWN: f64 = 0.1;

/// Says for each retained domain with questions how many of them the base and each run answer. Leaves out domains of
/// which the base answers few questions.
pub fn sentences(report: &ForgettingReport) -> String {
    let mut domains: Vec<&str> = Vec::new();
    for questions in report.runs.iter().flat_map(|run| &run.questions) {
        if !domains.contains(&questions.domain.as_str()) {
            domains.push(&questions.domain);
        }
    }
    let sentences: Vec<String> = domains
        .into_iter()
        .filter_map(|domain| sentence(report, domain))
        .collect();
    sentences.join(" ")
}

/// Returns the sentence about a domain: `Of 254 questions on chemistry, the base answers 231, full 12 and budget 215.`
fn sentence(report: &ForgettingReport, domain: &str) -> Option<String> {
    let is_niche = |run: &RunReport| run.niche().is_some_and(|niche| niche.name == domain);
    let asked: Vec<(&RunReport, &QuestionReport)> = report
        .runs
        .iter()
        .filter(|run| !is_niche(run))
        .filter_map(|run| {
            let mut questions = run.questions.iter();
            Some((run, questions.find(|questions| questions.domain == domain)?))
        })
        .collect();
    let (_, first) = asked.first()?;
    if first.accuracy.base.value < KNOWN {
        return None;
    }
    let answered = |share: f64, questions: &QuestionReport| {
        count((share * questions.count as f64).round() as u64)
    };
    let base = format!(
        "the base answers {}",
        answered(first.accuracy.base.value, first)
    );
    let runs = asked.iter().map(|(run, questions)| {
        format!(
            "{} {}",
            run.name,
            answered(questions.accuracy.tuned.value, questions)
        )
    });
    let all: Vec<String> = std::iter::once(base).chain(runs).collect();
    Some(format!(
        "Of {} questions on {domain}, {}.",
        count(first.count as u64),
        list(&all)
    ))
}
