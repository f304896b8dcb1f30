//! Sentences and examples on the questions that base and runs answer.

use super::wording::list;
use super::{ForgettingReport, QuestionReport, RunReport};
use crate::evidence::{DomainEvidence, LostQuestion};
use crate::wording::count;

/// Minimum share of a domain's questions that the base must answer for a sentence about the domain: below it there is
/// hardly anything to forget.
const KNOWN: f64 = 0.1;

/// Maximum number of example questions.
const EXAMPLES: usize = 3;

/// Key of the default forgetting limit among the settings of a run.
const LIMIT: &str = "retention.limits.default";

/// Example questions with the answers of the base and of two runs.
#[derive(Debug, Default, PartialEq)]
pub struct Examples {
    /// Names of the runs: the one that lost the most answers, and the one that lost the fewest.
    pub runs: Vec<String>,
    /// Questions that the first run no longer answers; empty if no answers are stored.
    pub questions: Vec<Example>,
}

/// Question with the answers of the base and of the runs.
#[derive(Debug, PartialEq)]
pub struct Example {
    /// Text of the question on one line.
    pub question: String,
    /// Correct answer, which the base gave.
    pub base: String,
    /// Answers of the runs, in the order of [`Examples::runs`].
    pub after: Vec<String>,
}

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

/// Returns the sentence about a domain: `The base knew 231 of 254 answers on chemistry; full knows 12, and budget,
/// within a budget of 0.02, 215.`
fn sentence(report: &ForgettingReport, domain: &str) -> Option<String> {
    let asked: Vec<(&RunReport, &QuestionReport)> = report
        .runs
        .iter()
        .filter(|run| !is_niche(run, domain))
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
    let runs = asked.iter().enumerate().map(|(number, (run, questions))| {
        let knows = if number == 0 { " knows" } else { "" };
        let limit = run.provenance.settings.get(LIMIT);
        let within = limit.map_or(String::new(), |limit| format!(" (budget of {limit})"));
        let known = answered(questions.accuracy.tuned.value, questions);
        format!("{}{within}{knows} {known}", run.name)
    });
    let runs: Vec<String> = runs.collect();
    Some(format!(
        "The base knew {} of {} answers on {domain}; {}.",
        answered(first.accuracy.base.value, first),
        count(first.count as u64),
        list(&runs)
    ))
}

/// Chooses questions of retained domains that the run with the most lost answers lost, with its answers and those of
/// the run with the fewest. The domains take turns.
pub fn examples(report: &ForgettingReport) -> Examples {
    let lost = |run: &RunReport| -> usize {
        known(run)
            .map(|(_, evidence)| evidence.questions_lost)
            .sum()
    };
    let runs = || report.runs.iter().filter(|run| !run.questions.is_empty());
    // `max_by_key` returns the last of equal runs, and the first one is wanted.
    let most = runs().rev().max_by_key(|run| lost(run));
    let Some(most) = most.filter(|run| lost(run) > 0) else {
        return Examples::default();
    };
    let fewest = runs().min_by_key(|run| lost(run));
    let shown: Vec<&RunReport> = std::iter::once(most)
        .chain(fewest.filter(|run| run.name != most.name))
        .collect();
    let of_domains: Vec<Vec<Example>> = known(most)
        .map(|(domain, evidence)| {
            let questions = evidence.questions.iter();
            let asked = questions.filter_map(|question| example(domain, question, &shown));
            asked.collect()
        })
        .collect();
    let turns = of_domains.iter().map(Vec::len).max().unwrap_or(0);
    let mut of_domains: Vec<_> = of_domains.into_iter().map(Vec::into_iter).collect();
    let questions = (0..turns).flat_map(|_| {
        let turn: Vec<Example> = of_domains.iter_mut().filter_map(Iterator::next).collect();
        turn
    });
    let questions = questions.take(EXAMPLES).collect();
    let runs = shown.iter().map(|run| run.name.clone()).collect();
    Examples { runs, questions }
}

/// Returns the retained domains of a run in which the base answers enough questions, each with its evidence.
fn known(run: &RunReport) -> impl Iterator<Item = (&str, &DomainEvidence)> {
    run.questions.iter().filter_map(|questions| {
        let domain = questions.domain.as_str();
        let counts = questions.accuracy.base.value >= KNOWN && !is_niche(run, domain);
        let evidence = run.evidence.get(domain).filter(|_| counts)?;
        Some((domain, evidence))
    })
}

/// Returns a question with the answers of `runs`, or `None` if one of them is not stored.
fn example(domain: &str, question: &LostQuestion, runs: &[&RunReport]) -> Option<Example> {
    let after = runs.iter().map(|run| answer(run, domain, question));
    Some(Example {
        question: one_line(&question.prompt),
        base: one_line(&question.answer),
        after: after.collect::<Option<_>>()?,
    })
}

/// Returns a run's answer to a question that the base answers correctly: the stored one if the run lost the question,
/// else the base's. `None` if it is not known.
fn answer(run: &RunReport, domain: &str, question: &LostQuestion) -> Option<String> {
    let evidence = run.evidence.get(domain)?;
    let same = |lost: &&LostQuestion| lost.prompt == question.prompt;
    match evidence.questions.iter().find(same) {
        Some(lost) => lost.generated.as_deref().map(one_line),
        None if evidence.questions.len() == evidence.questions_lost => {
            Some(one_line(&question.answer))
        }
        None => None,
    }
}

/// Returns a text on one line, without the words `Question:` before and `Answer:` after it.
fn one_line(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let words = words.strip_prefix(&["Question:"]).unwrap_or(&words);
    let words = words.strip_suffix(&["Answer:"]).unwrap_or(words);
    words.join(" ")
}

fn is_niche(run: &RunReport, domain: &str) -> bool {
    run.niche().is_some_and(|niche| niche.name == domain)
}
