//! The search along an interpolation after training (WiSE-FT; Wortsman 2022): α chosen on the dev split of the held-out
//! documents and reported on the test split.

use polymath_data::HeldoutSplit;
use polymath_eval::{Interpolation, Shares};
use serde::Serialize;

use super::curve::{BitsPerByte, Point, Rule};
use crate::StudyError;

/// Weights between the two models, and what they score.
#[derive(Debug, Clone, Serialize)]
pub struct Curve {
    /// The whole curve, by ascending α; after it, with a search per block, what that found.
    pub points: Vec<Point>,
    /// The one that was chosen.
    pub chosen: usize,
    /// Whether it keeps to the limit on the dev split.
    pub within_limit: bool,
}

/// A search along an interpolation.
pub struct Search<'a> {
    /// The models between the two.
    pub models: &'a Interpolation<'a>,
    /// Chooses among them.
    pub rule: &'a Rule,
}

impl Search<'_> {
    /// Scores the whole `grid` of α, as [`super::grid`] makes it, on both splits, and chooses by `dev`; then, with `per_block`, goes
    /// once over the blocks from the last to the first, giving each the α of the grid that is best with the others as
    /// they are.
    ///
    /// # Errors
    /// What scoring says.
    pub fn run(
        &self,
        grid: &[f64],
        per_block: bool,
        say: &mut dyn FnMut(&Point),
    ) -> Result<Curve, StudyError> {
        let rule = self.rule;
        let before = self.measure(&self.models.alike(0.0), HeldoutSplit::Dev)?;
        let mut points: Vec<Point> = Vec::new();
        for alpha in grid {
            let shares = self.models.alike(*alpha);
            let mut point = self.develop(&shares, &before)?;
            point.alpha = Some(*alpha);
            point.test = self.measure(&shares, HeldoutSplit::Test)?;
            let first = points.first().map_or(&point.test, |first| &first.test);
            point.test_mean_increase = rule.mean_increase(first, &point.test);
            say(&point);
            points.push(point);
        }
        let mut chosen = rule.choose(&points);
        if per_block {
            let mut best = points[chosen].clone();
            best.alpha = None;
            let blocks: Vec<String> = best.shares.keys().rev().cloned().collect();
            for block in blocks {
                for alpha in grid {
                    let mut shares = best.shares.clone();
                    shares.insert(block.clone(), *alpha);
                    let point = self.develop(&shares, &before)?;
                    if rule.prefers(&point, &best) {
                        best = point;
                    }
                }
            }
            best.test = self.measure(&best.shares, HeldoutSplit::Test)?;
            best.test_mean_increase = rule.mean_increase(&points[0].test, &best.test);
            say(&best);
            points.push(best);
            chosen = rule.choose(&points);
        }
        let within_limit = rule.keeps(&points[chosen]);
        Ok(Curve {
            points,
            chosen,
            within_limit,
        })
    }

    fn develop(&self, shares: &Shares, before: &BitsPerByte) -> Result<Point, StudyError> {
        // The base itself is measured already.
        let development = match shares.values().all(|share| *share == 0.0) {
            true => before.clone(),
            false => self.measure(shares, HeldoutSplit::Dev)?,
        };
        Ok(Point {
            alpha: None,
            shares: shares.clone(),
            mean_increase: self.rule.mean_increase(before, &development),
            development,
            test_mean_increase: 0.0,
            test: BitsPerByte::new(),
        })
    }

    /// Bits per byte of every domain on one split.
    fn measure(&self, shares: &Shares, split: HeldoutSplit) -> Result<BitsPerByte, StudyError> {
        let scores = self.models.scores(shares, split)?.into_iter();
        Ok(scores
            .map(|(name, scores)| (name, scores.bits_per_byte()))
            .collect())
    }
}
