//! The leak ledger as rows: how much of each held-out set stands in what was trained on.

use polymath_data::Overlap;

use super::ForgettingReport;
use crate::wording::percent;

/// The ledger of all runs.
pub struct Ledger {
    /// What was trained on, one a column.
    pub sources: Vec<String>,
    /// The held-out domain, and of each source its cell.
    pub rows: Vec<(String, Vec<Cell>)>,
}

/// What was found of one held-out domain in one source.
pub struct Cell {
    /// Whole documents and 13-word sequences, or a word that says why there is nothing.
    pub text: String,
    /// Whether it is above the limit.
    pub leaks: bool,
}

/// Of the data sets' own domains and of every tuned run; runs that were tuned on the same are one column. `None` where
/// nothing is known of any.
pub fn ledger(report: &ForgettingReport) -> Option<Ledger> {
    let mut sources: Vec<(String, &[Overlap])> = Vec::new();
    if !report.overlaps.is_empty() {
        sources.push(("the data sets’ training text".into(), &report.overlaps));
    }
    for run in &report.runs {
        match sources.iter_mut().find(|(_, found)| *found == run.overlaps) {
            Some((name, _)) => *name += &format!(", {}", run.name),
            None => sources.push((format!("fine-tuning text of {}", run.name), &run.overlaps)),
        }
    }
    if sources.iter().all(|(_, overlaps)| overlaps.is_empty()) {
        return None;
    }
    let mut names: Vec<&str> = report
        .runs
        .iter()
        .flat_map(|run| &run.domains)
        .map(|domain| domain.name.as_str())
        .collect();
    names.sort_unstable();
    names.dedup();
    let limit = report.settings.overlap_limit;
    let row = |name: &&str| {
        let cells = sources
            .iter()
            .map(|(_, overlaps)| cell(name, overlaps, limit));
        ((*name).to_owned(), cells.collect())
    };
    Some(Ledger {
        rows: names.iter().map(row).collect(),
        sources: sources.into_iter().map(|(name, _)| name).collect(),
    })
}

/// The largest shares, where a source has several domains.
fn cell(name: &str, overlaps: &[Overlap], limit: f64) -> Cell {
    let of_domain = || overlaps.iter().filter(|overlap| overlap.heldout == name);
    let largest = |share: fn(&Overlap) -> f64| of_domain().map(share).fold(0.0, f64::max);
    if of_domain().next().is_none() {
        return Cell {
            text: "not measured".into(),
            leaks: false,
        };
    }
    let exact = largest(|overlap| overlap.exact_share);
    let sequences = match of_domain().map(|overlap| overlap.ngrams).max() {
        Some(0) => "–".into(),
        _ => percent(largest(|overlap| overlap.ngram_share)),
    };
    Cell {
        text: format!("{} · {sequences}", percent(exact)),
        leaks: exact > limit,
    }
}
