//! Points of an interpolation, the rule that chooses one of them, and their table.

use std::collections::BTreeMap;

use polymath_eval::Shares;
use polymath_report::untrusted::inline;
use serde::Serialize;

use super::search::Curve;
use crate::StudyError;

/// Bits per byte of each domain.
pub type BitsPerByte = BTreeMap<String, f64>;

/// Model between the base and the tuned model, with its scores.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Point {
    /// Share of the tuned weights, if it is the same for all blocks.
    pub alpha: Option<f64>,
    /// Share of the tuned weights in each block.
    pub shares: Shares,
    /// Mean increase in bits per byte over the retained domains, relative to the base, on the dev split.
    pub mean_increase: f64,
    /// Bits per byte of each domain on the dev split.
    pub dev: BitsPerByte,
    /// Mean increase in bits per byte over the retained domains, relative to the base, on the test split.
    pub test_mean_increase: f64,
    /// Bits per byte of each domain on the test split.
    pub test: BitsPerByte,
}

/// Returns the values of α to try, ascending: the given ones, 0 and 1. The base (α = 0) is the reference of all
/// increases.
///
/// # Errors
/// Fails if a value is outside 0 to 1.
pub fn grid(alphas: &[f64]) -> Result<Vec<f64>, StudyError> {
    if let Some(alpha) = alphas.iter().find(|alpha| !(0.0..=1.0).contains(*alpha)) {
        return Err(StudyError::Config(format!(
            "`--alphas` has `{alpha}`: expected shares of the tuned model from 0 to 1"
        )));
    }
    let mut grid = [alphas, &[0.0, 1.0]].concat();
    grid.sort_by(f64::total_cmp);
    grid.dedup();
    Ok(grid)
}

/// Rule that chooses a point: the best niche among the points whose mean increase over the retained domains is within
/// the limit, or else the smallest increase.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// Niche. All other domains are retained domains.
    pub niche: String,
    /// Maximum mean increase, in bits per byte.
    pub limit: f64,
}

impl Rule {
    /// Returns the mean of after − before over the retained domains.
    pub fn mean_increase(&self, before: &BitsPerByte, after: &BitsPerByte) -> f64 {
        let rises: Vec<f64> = before
            .iter()
            .filter(|(name, _)| **name != self.niche)
            .map(|(name, before)| after[name] - before)
            .collect();
        rises.iter().sum::<f64>() / rises.len().max(1) as f64
    }

    /// Returns true if the point's increase is within the limit.
    pub fn keeps(&self, point: &Point) -> bool {
        point.mean_increase <= self.limit
    }

    /// Returns true if `a` is strictly better than `b`.
    pub fn prefers(&self, a: &Point, b: &Point) -> bool {
        match (self.keeps(a), self.keeps(b)) {
            (true, true) => a.dev[&self.niche] < b.dev[&self.niche],
            (false, false) => a.mean_increase < b.mean_increase,
            (kept, _) => kept,
        }
    }

    /// Returns the index of the best point; among equal points, the first.
    pub fn choose(&self, points: &[Point]) -> usize {
        let mut best = 0;
        for at in 1..points.len() {
            if self.prefers(&points[at], &points[best]) {
                best = at;
            }
        }
        best
    }
}

impl Curve {
    /// Returns a Markdown table with a line for each point: bits per byte of the niche and mean increase of the
    /// retained domains, on both splits.
    pub fn table(&self, rule: &Rule) -> String {
        let mut text = format!(
            "| α | {0}, dev | retained, dev | {0}, test | retained, test | |\n|---|--:|--:|--:|--:|---|\n",
            inline(&rule.niche)
        );
        for (at, point) in self.points.iter().enumerate() {
            let alpha = point
                .alpha
                .map_or("per block".to_owned(), |alpha| format!("{alpha:.2}"));
            let mark = match (at == self.chosen, self.within_limit) {
                (true, true) => "chosen",
                (true, false) => "least bad",
                (false, _) => "",
            };
            text += &format!(
                "| {alpha} | {:.4} | {:+.4} | {:.4} | {:+.4} | {mark} |\n",
                point.dev[&rule.niche],
                point.mean_increase,
                point.test[&rule.niche],
                point.test_mean_increase
            );
        }
        text
    }
}
