//! Overview of a report: one row per run, the same in all its forms.

use super::provenance::differing;
use super::wording::list;
use super::{Answer, ForgettingReport, RunReport};
use crate::wording::{interval, signed, signed_or_dash};
use polymath_eval::statistics::Verdict;

/// Maximum number of settings in a row; the others are with each run's figures.
const MOST_SETTINGS: usize = 6;

/// Row of a run.
pub struct Row {
    /// Name of the run.
    pub name: String,
    /// True if the report recommends the run.
    pub recommended: bool,
    /// Settings that differ between the runs, or the method if none is known: `key` and value.
    pub settings: Vec<(String, String)>,
    /// Gain on the niche: positive is better.
    pub gain: String,
    /// Interval of the gain, formatted.
    pub gain_interval: String,
    /// Retained domain with the largest change; empty if there is none.
    pub worst: String,
    /// Change of that retained domain, formatted with its sign.
    pub worst_change: String,
    /// Bound on the change of all retained domains together; empty if it is unknown.
    pub worst_bound: String,
    /// Verdict on the run as text, with its symbol.
    pub verdict: String,
    /// CSS class for the verdict's color: that of the worst verdict on a domain.
    pub class: &'static str,
}

/// Returns one row per run, in the order of the report's runs.
pub fn rows(report: &ForgettingReport, answer: &Answer) -> Vec<Row> {
    let keys = differing(&report.runs);
    report
        .runs
        .iter()
        .map(|run| row(run, &keys, answer))
        .collect()
}

fn row(run: &RunReport, keys: &[&str], answer: &Answer) -> Row {
    let settings = keys.iter().filter_map(|key| {
        let value = run.provenance.settings.get(*key)?;
        Some(((*key).to_owned(), value.clone()))
    });
    let mut settings: Vec<(String, String)> = settings.take(MOST_SETTINGS).collect();
    let names_method = settings.iter().any(|(key, _)| key == "method");
    if !run.method.is_empty() && !names_method {
        settings.insert(0, ("method".into(), run.method.clone()));
    }
    let gain = run.summary.niche_gain;
    let worst = run.summary.worst_forgetting.as_ref();
    let (verdict, class) = verdict(run);
    Row {
        name: run.name.clone(),
        recommended: answer.recommended.contains(&run.name),
        settings,
        gain: signed_or_dash(gain.map(|gain| gain.value)),
        gain_interval: gain
            .and_then(|gain| gain.interval)
            .map_or(String::new(), |ends| interval(Some(ends))),
        worst: worst.map_or(String::new(), |worst| worst.domain.clone()),
        worst_change: signed_or_dash(worst.map(|worst| worst.change)),
        worst_bound: worst
            .and_then(|worst| worst.bound)
            .map_or(String::new(), signed),
        verdict,
        class,
    }
}

/// Returns the verdict on a run in words, and the CSS class of its color.
fn verdict(run: &RunReport) -> (String, &'static str) {
    let names = |verdict| -> Vec<String> {
        let of = run.judged().filter(|domain| domain.verdict == verdict);
        of.map(|domain| domain.name.clone()).collect()
    };
    let (forgotten, undecided) = (names(Verdict::Forgotten), names(Verdict::Undecided));
    let improved = names(Verdict::Improved);
    let (kept, judged) = run.kept();
    if judged == 0 {
        return ("– nothing judged".into(), "withheld");
    }
    if !forgotten.is_empty() {
        return (
            format!("▲ forgot {}", some_of(&forgotten, judged)),
            "forgotten",
        );
    }
    if !undecided.is_empty() {
        return (
            format!("◇ undecided: {}", some_of(&undecided, judged)),
            "undecided",
        );
    }
    let all = match judged {
        1 => "● kept".to_owned(),
        _ => format!("● kept all {judged}"),
    };
    match improved.len() {
        0 => (all, "kept"),
        number if number == kept => (all.replace("● kept", "▼ improved"), "improved"),
        _ => (
            format!("{all}, improved {}", some_of(&improved, judged)),
            "kept",
        ),
    }
}

/// Lists one or two names; of more, only gives the number, such as `3 of 5`.
fn some_of(names: &[String], of: usize) -> String {
    match names.len() {
        0..=2 => list(names),
        number => format!("{number} of {of}"),
    }
}

/// Formats the gain or loss of a niche with its sign as a gain: positive is better.
pub fn as_gain(change: Option<f64>) -> String {
    // 0 − x, since −x would turn 0 into −0.
    change.map_or("–".into(), |change| signed(0.0 - change))
}

/// Formats the interval of a niche's change as that of a gain.
pub fn gain_interval(ends: Option<[f64; 2]>) -> String {
    interval(ends.map(|[low, high]| [0.0 - high, 0.0 - low]))
}
