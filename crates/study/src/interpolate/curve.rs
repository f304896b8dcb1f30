//! What stands along an interpolation, which point of it is chosen, and how it is shown.

use std::collections::BTreeMap;

use polymath_eval::Shares;
use polymath_report::untrusted::inline;
use serde::Serialize;

use super::search::Curve;
use crate::StudyError;

/// Of each domain.
pub type BitsPerByte = BTreeMap<String, f64>;

/// One model between two.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Point {
    /// The share of the tuned model, where all blocks have the same.
    pub alpha: Option<f64>,
    /// The share of each block.
    pub shares: Shares,
    /// Mean rise over the old domains against the base, on the dev split.
    pub mean_increase: f64,
    /// Bits per byte on the dev split.
    pub development: BitsPerByte,
    /// Mean rise over the old domains against the base, on the test split.
    pub test_mean_increase: f64,
    /// Bits per byte on the test split.
    pub test: BitsPerByte,
}

/// The values of α to try, ascending: the given ones, and both ends, since the base is what rises are measured against.
///
/// # Errors
/// One outside 0 to 1.
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

/// By what a point is chosen: the best niche whose mean rise over the old domains keeps to the limit; where none does,
/// the smallest rise.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// The domain that was tuned for; all others are old.
    pub niche: String,
    /// In bits per byte.
    pub limit: f64,
}

impl Rule {
    /// The mean over the old domains of after − before.
    pub fn mean_increase(&self, before: &BitsPerByte, after: &BitsPerByte) -> f64 {
        let rises: Vec<f64> = before
            .iter()
            .filter(|(name, _)| **name != self.niche)
            .map(|(name, before)| after[name] - before)
            .collect();
        rises.iter().sum::<f64>() / rises.len().max(1) as f64
    }

    /// Whether a point is within the limit.
    pub fn keeps(&self, point: &Point) -> bool {
        point.mean_increase <= self.limit
    }

    /// Whether `a` is strictly better than `b`.
    pub fn prefers(&self, a: &Point, b: &Point) -> bool {
        match (self.keeps(a), self.keeps(b)) {
            (true, true) => a.development[&self.niche] < b.development[&self.niche],
            (false, false) => a.mean_increase < b.mean_increase,
            (kept, _) => kept,
        }
    }

    /// The best point; the first of equals.
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
    /// A table in Markdown: a line for each point, its niche and mean old bits per byte on either split.
    pub fn table(&self, rule: &Rule) -> String {
        let mut text = format!(
            "| α | {0}, development | old rise, development | {0}, test | old rise, test | |\n|---|--:|--:|--:|--:|---|\n",
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
                point.development[&rule.niche],
                point.mean_increase,
                point.test[&rule.niche],
                point.test_mean_increase
            );
        }
        text
    }
}
