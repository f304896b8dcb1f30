//! Significant differences between methods: all pairs, in gain and in forgetting, with simultaneous 95 % intervals.

use super::area::{hypervolume, pareto};
use polymath_eval::statistics::{Contrast, Draw, FigureOfAll, LEVEL, Maxima, Random};

const RESAMPLES: usize = 2000;
/// Number of resamples if there are very many pairs of methods: fewer suffice then, and take as long.
const RESAMPLES_OF_MANY: usize = 1000;
const MANY: usize = 16;
const SEED: u64 = 25;

/// Gain and forgetting of every method, which are compared in pairs.
pub struct Comparisons<'a> {
    /// Gain on the niche of every method, in bits per byte.
    pub gain: FigureOfAll<'a>,
    /// Mean forgetting of every method over the retained domains, in bits per byte.
    pub forgetting: FigureOfAll<'a>,
}

/// Results of the resamples over all methods.
pub struct Resampled {
    /// Number of standard errors that a significant difference must exceed. In 95 % of the resamples, the maximum
    /// over all pairs, in gain and forgetting, is below it (max-T; Westfall & Young 1993, Romano & Wolf 2005,
    /// single-step).
    pub critical: f64,
    /// For each method, the share of resamples in which no other method dominates it.
    pub frontier_shares: Vec<f64>,
    /// 95 % intervals of the hypervolume: of the trained methods, and of all methods.
    pub hypervolumes: [[f64; 2]; 2],
}

/// Reference corner of the hypervolume, and which methods are trained.
pub struct ReferencePoint<'a> {
    /// Largest mean forgetting of any method.
    pub forgetting: f64,
    /// For each method, true if it was trained and false if it is a mixture with the base.
    pub trained: &'a [bool],
}

impl Comparisons<'_> {
    /// Returns the points (gain, forgetting) of the methods.
    pub fn points(&self, methods: usize) -> Vec<(f64, f64)> {
        let point = |method: usize| {
            let alone = Contrast::of(method);
            (self.gain.value(alone), self.forgetting.value(alone))
        };
        (0..methods).map(point).collect()
    }

    /// Draws the resamples and returns their results.
    pub fn resample(&self, corner: &ReferencePoint) -> Resampled {
        let methods = corner.trained.len();
        let resamples = if methods > MANY {
            RESAMPLES_OF_MANY
        } else {
            RESAMPLES
        };
        let mut random = Random(SEED);
        let mut maxima = Vec::new();
        let mut on_frontier = vec![0usize; methods];
        let mut areas = [Vec::new(), Vec::new()];
        for _ in 0..resamples {
            let (gain, forgetting) = (
                self.gain.draw(&mut random),
                self.forgetting.draw(&mut random),
            );
            maxima.push(self.largest(methods, &gain, &forgetting));
            let point = |method| {
                let forgetting = self.forgetting.drawn(&forgetting, method);
                (self.gain.drawn(&gain, method), forgetting)
            };
            let points: Vec<(f64, f64)> = (0..methods).map(point).collect();
            for (count, beaten) in on_frontier.iter_mut().zip(pareto(&points)) {
                *count += usize::from(beaten.is_none());
            }
            for (area, found) in areas.iter_mut().zip(corner.hypervolumes(&points)) {
                area.push(found);
            }
        }
        let found = corner.hypervolumes(&self.points(methods));
        let [trained, all] = areas;
        Resampled {
            critical: Maxima::new(maxima).critical(LEVEL),
            frontier_shares: on_frontier
                .into_iter()
                .map(|count| count as f64 / resamples as f64)
                .collect(),
            hypervolumes: [around(found[0], trained), around(found[1], all)],
        }
    }

    /// Returns the largest absolute statistic of a resample, over all pairs and over gain and forgetting.
    fn largest(&self, methods: usize, gain: &Draw, forgetting: &Draw) -> f64 {
        let of = |contrast: Contrast| {
            let gain = self.gain.statistic(gain, contrast).abs();
            gain.max(self.forgetting.statistic(forgetting, contrast).abs())
        };
        Contrast::pairs(methods).map(of).fold(0.0, f64::max)
    }

    /// Returns true if `other` gains significantly more and forgets significantly less than `method`.
    pub fn beats(&self, other: usize, method: usize, critical: f64) -> bool {
        let contrast = Contrast::between(other, method);
        let margin = |figure: &FigureOfAll| critical * figure.error(contrast);
        self.gain.value(contrast) > margin(&self.gain)
            && self.forgetting.value(contrast) < -margin(&self.forgetting)
    }
}

impl ReferencePoint<'_> {
    /// Returns the hypervolume of the trained methods, and that of all methods.
    pub fn hypervolumes(&self, points: &[(f64, f64)]) -> [f64; 2] {
        let trained = points
            .iter()
            .zip(self.trained)
            .filter(|(_, trained)| **trained);
        let trained: Vec<(f64, f64)> = trained.map(|(point, _)| *point).collect();
        [&trained, points].map(|points| hypervolume(points, self.forgetting))
    }
}

/// Returns the basic bootstrap interval, which mirrors the resamples' distances at the value. It is used because the
/// largest of several noisy numbers is too large, and even larger in a resample.
fn around(value: f64, mut drawn: Vec<f64>) -> [f64; 2] {
    drawn.sort_unstable_by(f64::total_cmp);
    let at = |share: f64| drawn[((drawn.len() - 1) as f64 * share).round() as usize];
    [
        (2.0 * value - at(1.0 - LEVEL / 2.0)).max(0.0),
        (2.0 * value - at(LEVEL / 2.0)).max(0.0),
    ]
}
