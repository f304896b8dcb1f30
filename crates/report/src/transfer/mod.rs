//! Transfer matrix: a base is tuned on each domain separately, and each result is scored on all domains. Forecasts of
//! the changes are compared with the measured ones.

mod markdown;
mod page;

use std::path::Path;

use serde::Serialize;

use crate::ReportError;
use crate::diverged::Diverged;
use polymath_eval::statistics::Figure;
use polymath_eval::statistics::{Correlation, Dyad, spearman};

/// Schema version of `transfer.json`.
const SCHEMA: u32 = 2;
/// Random seed of the permutation tests.
const SEED: u64 = 1;

/// Row of the matrix: a domain that the base was tuned on.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// Domain that the base was tuned on.
    pub domain: String,
    /// Change of each scored domain, in the order of the columns.
    pub changes: Vec<Figure>,
    /// Cosine similarity between the base's loss gradient on this domain and that on each scored domain.
    pub gradient_cosines: Vec<f64>,
    /// KL(base ‖ tuned) in nats per token on the domain's own held-out text, measured early in the run and averaged
    /// over seeds.
    pub early_divergence: f64,
}

/// Rank correlation of a cheap forecast with the measured changes.
#[derive(Debug, Clone, Serialize)]
pub struct Forecast {
    /// Name of the quantity that serves as the forecast.
    pub name: String,
    /// Name of the quantity that is forecast.
    pub of: String,
    /// Spearman's ρ; `None` for too few pairs.
    pub correlation: Option<Correlation>,
}

/// Transfer matrix with its forecasts, as saved in `transfer.json`.
#[derive(Debug, Clone, Serialize)]
pub struct Transfer {
    /// Schema version of the file.
    pub schema: u32,
    /// Path of the base checkpoint.
    pub base: String,
    /// Number of runs in each row.
    pub seeds: usize,
    /// Training tokens of each run.
    pub tokens: u64,
    /// Share of a run after which the early divergence was measured.
    pub early_share: f64,
    /// Scored domains: the columns of the matrix.
    pub scored: Vec<String>,
    /// Domains that the base was tuned on: the rows of the matrix.
    pub rows: Vec<Row>,
    /// Rank correlations of the forecasts.
    pub forecasts: Vec<Forecast>,
    /// Runs that diverged and are left out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub diverged: Vec<Diverged>,
}

/// Settings that all runs of a transfer matrix share.
#[derive(Debug, Clone)]
pub struct Setting {
    /// Path of the base checkpoint.
    pub base: String,
    /// Number of runs in each row.
    pub seeds: usize,
    /// Training tokens of each run.
    pub tokens: u64,
    /// Share of a run after which the early divergence was measured.
    pub early_share: f64,
}

impl Transfer {
    /// Creates the transfer matrix from rows that have as many cells as `scored` has domains.
    pub fn new(setting: Setting, scored: Vec<String>, rows: Vec<Row>) -> Self {
        let forecasts = forecasts(&scored, &rows);
        Self {
            schema: SCHEMA,
            base: setting.base,
            seeds: setting.seeds,
            tokens: setting.tokens,
            early_share: setting.early_share,
            scored,
            rows,
            forecasts,
            diverged: Vec::new(),
        }
    }

    /// Adds the diverged runs to the matrix.
    #[must_use]
    pub fn with_diverged(mut self, diverged: Vec<Diverged>) -> Self {
        self.diverged = diverged;
        self
    }

    /// Renders the transfer matrix for a terminal, with sentences.
    pub fn table(&self) -> String {
        markdown::table(self)
    }

    /// Renders the transfer matrix in Markdown.
    pub fn markdown(&self) -> String {
        markdown::render(self)
    }

    /// Writes `transfer.html`, `transfer.md` and `transfer.json` into `folder`.
    ///
    /// # Errors
    /// Fails if a file can't be written.
    pub fn write(&self, folder: &Path) -> Result<(), ReportError> {
        crate::page::write_forms(
            folder,
            "transfer",
            self,
            crate::page::ReadableForms {
                html: page::render(self)?,
                markdown: self.markdown(),
            },
        )
    }
}

fn forecasts(scored: &[String], rows: &[Row]) -> Vec<Forecast> {
    let place = |name: &String| scored.iter().position(|other| other == name);
    // The change of a domain by tuning on itself is its gain, not transfer. A row of a domain that is not scored has
    // no such column.
    let of_row = |(at, row): (usize, &Row)| -> Vec<Dyad> {
        let of_row = place(&row.domain).unwrap_or(scored.len() + at);
        let others = (0..scored.len()).filter(|column| *column != of_row);
        others
            .map(|column| Dyad {
                row: of_row,
                column,
                values: [-row.gradient_cosines[column], row.changes[column].value],
            })
            .collect()
    };
    let by_row: Vec<Vec<Dyad>> = rows.iter().enumerate().map(of_row).collect();
    let by_run: Vec<Dyad> = rows
        .iter()
        .zip(&by_row)
        .enumerate()
        .map(|(at, (row, others))| {
            let sum: f64 = others.iter().map(|dyad| dyad.values[1]).sum();
            Dyad {
                row: at,
                column: at,
                values: [row.early_divergence, sum / others.len().max(1) as f64],
            }
        })
        .collect();
    vec![
        Forecast {
            name: "gradients in opposite directions (−cosine)".into(),
            of: "the change of each domain by tuning on each other domain".into(),
            correlation: spearman(&by_row.concat(), SEED),
        },
        Forecast {
            name: "divergence on the niche early in the run".into(),
            of: "the mean change of all other domains per run".into(),
            correlation: spearman(&by_run, SEED),
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix() -> (Vec<String>, Vec<Row>) {
        let scored = ["a", "b", "c"].map(str::to_owned).to_vec();
        let row = |domain: &str, values: [f64; 3], cosines: [f64; 3], early_divergence| Row {
            domain: domain.into(),
            changes: values
                .map(|value| Figure {
                    value,
                    interval: None,
                })
                .to_vec(),
            gradient_cosines: cosines.to_vec(),
            early_divergence,
        };
        let rows = [
            row("a", [-9.0, 0.1, 0.6], [1.0, 0.9, 0.2], 0.1),
            row("b", [0.2, -9.0, 0.5], [0.8, 1.0, 0.3], 0.2),
            row("c", [0.4, 0.3, -9.0], [0.5, 0.6, 1.0], 0.3),
        ];
        (scored, rows.to_vec())
    }

    /// Checks that the domains' own gains are left out of the forecasts, and that forgetting is positive.
    #[test]
    fn forecasts_rank_the_other_domains() {
        let (scored, rows) = matrix();
        let found = forecasts(&scored, &rows);
        let gradients = found[0].correlation.unwrap();
        assert_eq!(gradients.pairs, 6);
        assert!((gradients.value - 1.0).abs() < 1e-12);
        // Three runs are too few to rank.
        assert!(found[1].correlation.is_none());
    }

    /// Checks that the first sentence names the pair that lost most, or says that nothing is shown to lose.
    #[test]
    fn the_first_sentence_says_what_to_retain() {
        let of = |low: f64| {
            let (scored, mut rows) = matrix();
            for row in &mut rows {
                for change in &mut row.changes {
                    change.interval = Some([change.value + low, change.value + 0.1]);
                }
            }
            let setting = Setting {
                base: "base".into(),
                seeds: 1,
                tokens: 1000,
                early_share: 0.05,
            };
            Transfer::new(setting, scored, rows)
        };
        let lost = "Retain c when you tune on a: it loses most there (+0.600). In 5 of 6 pairs of domains, the \
                    interval, which is not corrected for their number, is above 0. Tuning on ";
        let found = of(-0.15);
        for text in [
            found.table(),
            found.markdown(),
            page::render(&found).unwrap(),
        ] {
            assert!(text.contains(lost), "{text}");
        }
        assert!(
            found
                .table()
                .contains("\n  a         −9.000  +0.100  +0.600\n"),
            "{}",
            found.table()
        );
        assert!(of(-1.0).table().contains("No domain is shown to lose"));
    }

    /// Checks that the page names the test of a forecast and what its intervals are over, and that no interval is
    /// shown where there is none.
    #[test]
    fn the_page_names_its_test_and_intervals() {
        let (scored, rows) = matrix();
        let of = |seeds| {
            let setting = Setting {
                base: "base".into(),
                seeds,
                tokens: 1000,
                early_share: 0.05,
            };
            Transfer::new(setting, scored.clone(), rows.clone())
        };
        let page = |seeds| page::render(&of(seeds)).unwrap();
        for said in ["Mantel 1967", "cluster bootstrap", "How sure is this?"] {
            assert!(page(1).contains(said), "{said}");
        }
        assert!(page(1).contains("Of one seed") && page(3).contains("the mean over 3 runs a row"));
        let text = of(1).markdown();
        assert!(text.contains("| −9.000 | +0.100 |"), "{text}");
        assert!(
            text.contains("(too few pairs for an interval), p"),
            "{text}"
        );
    }
}
