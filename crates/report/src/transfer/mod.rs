//! Who helps and who hurts whom: a base tuned on each domain in turn and scored on all, beside what the base alone had
//! forecast.

mod markdown;
mod page;

use std::path::Path;

use serde::Serialize;

use crate::ReportError;
use crate::diverged::Diverged;
use polymath_eval::statistics::Figure;
use polymath_eval::statistics::{Correlation, Dyad, spearman};

/// Of `transfer.json`.
const SCHEMA: u32 = 2;
/// Of the relabelings.
const SEED: u64 = 1;

/// A domain that was tuned on.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// Its name.
    pub domain: String,
    /// Of every scored domain, in the matrix's order.
    pub changes: Vec<Figure>,
    /// Cosine of the base's loss gradient on this domain with that on every scored one.
    pub gradient_cosines: Vec<f64>,
    /// KL(base ‖ tuned) in nats a token on this domain's own held-out text early in the run; the mean over seeds.
    pub early_divergence: f64,
}

/// How well something cheap ranked what was measured.
#[derive(Debug, Clone, Serialize)]
pub struct Forecast {
    /// What forecast.
    pub name: String,
    /// What it was held against.
    pub of: String,
    /// Spearman's ρ; none of too few.
    pub correlation: Option<Correlation>,
}

/// All of it.
#[derive(Debug, Clone, Serialize)]
pub struct Transfer {
    /// Of the file.
    pub schema: u32,
    /// The base's checkpoint.
    pub base: String,
    /// Runs of each row.
    pub seeds: usize,
    /// Tokens of each run.
    pub tokens: u64,
    /// Share of a run after which the early divergence was taken.
    pub early_share: f64,
    /// Domains that are scored: the matrix's columns.
    pub scored: Vec<String>,
    /// Domains that were tuned on.
    pub rows: Vec<Row>,
    /// How well forgetting was forecast.
    pub forecasts: Vec<Forecast>,
    /// Runs that diverged and are in no figure.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub diverged: Vec<Diverged>,
}

/// What the runs have in common.
#[derive(Debug, Clone)]
pub struct Setting {
    /// The base's checkpoint.
    pub base: String,
    /// Runs of each row.
    pub seeds: usize,
    /// Tokens of each run.
    pub tokens: u64,
    /// Share of a run after which the early divergence was taken.
    pub early_share: f64,
}

impl Transfer {
    /// Of all rows, each as long as `scored`.
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

    /// The same, with the runs that diverged.
    #[must_use]
    pub fn with_diverged(mut self, diverged: Vec<Diverged>) -> Self {
        self.diverged = diverged;
        self
    }

    /// As Markdown, which reads well in a terminal too.
    pub fn markdown(&self) -> String {
        markdown::render(self)
    }

    /// Writes `transfer.html`, `transfer.md` and `transfer.json` into `folder`.
    ///
    /// # Errors
    /// A file that can't be written.
    pub fn write(&self, folder: &Path) -> Result<(), ReportError> {
        crate::page::write_forms(
            folder,
            "transfer",
            self,
            (page::render(self)?, self.markdown()),
        )
    }
}

fn forecasts(scored: &[String], rows: &[Row]) -> Vec<Forecast> {
    let place = |name: &String| scored.iter().position(|other| other == name);
    // A domain's change by itself is its gain, no transfer. A row that is not scored is no column.
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
            name: "gradients that point apart (−cosine)".into(),
            of: "the change of every domain by tuning on every other".into(),
            correlation: spearman(&by_row.concat(), SEED),
        },
        Forecast {
            name: "divergence on the niche early in the run".into(),
            of: "the mean change of all other domains, a run".into(),
            correlation: spearman(&by_run, SEED),
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A domain's own gain is left out of the forecasts, and the sign is that of forgetting.
    #[test]
    fn forecasts_rank_the_others() {
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
        let found = forecasts(&scored, &rows);
        let gradients = found[0].correlation.unwrap();
        assert_eq!(gradients.pairs, 6);
        assert!((gradients.value - 1.0).abs() < 1e-12);
        // Three runs rank nothing.
        assert!(found[1].correlation.is_none());
    }
}
