//! Leak ledger: the share of each domain's held-out documents that occurs in training text.

use polymath_data::Overlap;

use super::ForgettingReport;
use crate::wording::percent;

/// Leak ledger: table of the overlap of every held-out domain with every training text.
pub struct Ledger {
    /// Names of the training texts, one for each column.
    pub sources: Vec<String>,
    /// Rows of the table: name of the held-out domain, and a cell for each training text.
    pub rows: Vec<(String, Vec<Cell>)>,
}

/// Overlap of a held-out domain with a training text.
pub struct Cell {
    /// Shares of whole documents and of 13-word sequences, or a note that they were not measured.
    pub text: String,
    /// True if the overlap exceeds the limit.
    pub leaks: bool,
}

/// Makes the leak ledger from the overlaps of the datasets' own domains and of every run. Runs that were tuned on the
/// same text share a column. Returns `None` if nothing was measured.
pub fn ledger(report: &ForgettingReport) -> Option<Ledger> {
    let mut sources: Vec<(String, &[Overlap])> = Vec::new();
    if !report.overlaps.is_empty() {
        sources.push(("training text of the datasets".into(), &report.overlaps));
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

/// Returns the cell of a held-out domain. If the training text has several domains, the cell has the largest of their
/// shares.
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
