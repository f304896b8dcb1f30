//! Search along an interpolation (WiSE-FT, Wortsman et al. 2022). α is chosen on the dev split of the held-out
//! documents, and the result is reported on the test split.

use polymath_data::HeldoutSplit;
use polymath_eval::{Interpolation, Shares};
use serde::Serialize;

use super::curve::{BitsPerByte, Point, Rule};
use crate::StudyError;

/// Scored points between the two models, and the chosen one.
#[derive(Debug, Clone, Serialize)]
pub struct Curve {
    /// Points by ascending α, then the result of the search per block, if any.
    pub points: Vec<Point>,
    /// Index of the chosen point in `points`.
    pub chosen: usize,
    /// True if the chosen point is within the limit on the dev split.
    pub within_limit: bool,
}

/// Search for the best mixture of a base and a tuned model.
pub struct Search<'a> {
    /// Base and tuned weights, and the data to score mixtures of them.
    pub models: &'a Interpolation<'a>,
    /// Rule that chooses a point.
    pub rule: &'a Rule,
}

impl Search<'_> {
    /// Scores each α of the `grid` (see [`super::grid`]) on both splits and chooses one by `dev`. With `per_block`,
    /// then visits the blocks once, from the last to the first, and sets each to the α of the grid that is best with
    /// the other blocks unchanged.
    ///
    /// # Errors
    /// Fails if scoring fails.
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
            let mut point = self.on_dev(&shares, &before)?;
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
                    let point = self.on_dev(&shares, &before)?;
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

    fn on_dev(&self, shares: &Shares, before: &BitsPerByte) -> Result<Point, StudyError> {
        // The scores of the base are known.
        let dev = match shares.values().all(|share| *share == 0.0) {
            true => before.clone(),
            false => self.measure(shares, HeldoutSplit::Dev)?,
        };
        Ok(Point {
            alpha: None,
            shares: shares.clone(),
            mean_increase: self.rule.mean_increase(before, &dev),
            dev,
            test_mean_increase: 0.0,
            test: BitsPerByte::new(),
        })
    }

    /// Returns the bits per byte of every domain on one split.
    fn measure(&self, shares: &Shares, split: HeldoutSplit) -> Result<BitsPerByte, StudyError> {
        let scores = self.models.scores(shares, split)?.into_iter();
        Ok(scores
            .map(|(name, scores)| (name, scores.bits_per_byte()))
            .collect())
    }
}
