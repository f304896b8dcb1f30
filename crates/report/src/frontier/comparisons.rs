//! Which methods are told apart: differences between all pairs in both figures, that hold together with 95 %.

use super::area::{hypervolume, pareto};
use super::joint::{Contrast, Draw, FigureOfAll, pairs};
use polymath_eval::statistics::{LEVEL, Random};

const RESAMPLES: usize = 2000;
/// With very many pairs, fewer are enough and take as long.
const RESAMPLES_OF_MANY: usize = 1000;
const MANY: usize = 16;
const SEED: u64 = 25;

/// Both figures of every method.
pub struct Comparisons<'a> {
    /// Fall on the niche.
    pub gain: FigureOfAll<'a>,
    /// Mean rise over the retained domains.
    pub forgetting: FigureOfAll<'a>,
}

/// What the resamples say of all methods together.
pub struct Resampled {
    /// How many standard errors a difference must lie from 0 to be told from it: the maximum over all pairs and both figures
    /// is below it in 95 % of the resamples (max-T; Westfall & Young 1993, Romano & Wolf 2005, in one step).
    pub critical: f64,
    /// Of each method, the share of resamples in which no other beats it.
    pub frontier_shares: Vec<f64>,
    /// 95 % interval of the hypervolume of the trained methods, and of all.
    pub hypervolumes: [[f64; 2]; 2],
}

/// The corner from which the hypervolume is seen, and which methods were trained.
pub struct Corner<'a> {
    /// The most mean forgetting of any method.
    pub forgetting: f64,
    /// Of each method, whether it was trained, and not made by mixing.
    pub trained: &'a [bool],
}

impl Comparisons<'_> {
    /// The methods' points (gain, forgetting).
    pub fn points(&self, methods: usize) -> Vec<(f64, f64)> {
        let point = |method: usize| {
            let alone = (method, None);
            (self.gain.value(alone), self.forgetting.value(alone))
        };
        (0..methods).map(point).collect()
    }

    /// Draws the resamples.
    pub fn resample(&self, corner: &Corner) -> Resampled {
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
            maxima.push(self.largest(methods, (&gain, &forgetting)));
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
            critical: upper_quantile(maxima, LEVEL),
            frontier_shares: on_frontier
                .into_iter()
                .map(|count| count as f64 / resamples as f64)
                .collect(),
            hypervolumes: [around(found[0], trained), around(found[1], all)],
        }
    }

    /// The largest statistic of a resample over all pairs and both figures.
    fn largest(&self, methods: usize, (gain, forgetting): (&Draw, &Draw)) -> f64 {
        let of = |contrast: Contrast| {
            let gain = self.gain.statistic(gain, contrast).abs();
            gain.max(self.forgetting.statistic(forgetting, contrast).abs())
        };
        pairs(methods).map(of).fold(0.0, f64::max)
    }

    /// Whether `other` gains more and forgets less than `method`, both for sure.
    pub fn beats(&self, other: usize, method: usize, critical: f64) -> bool {
        let contrast = (other, Some(method));
        let surely = |figure: &FigureOfAll| critical * figure.error(contrast);
        self.gain.value(contrast) > surely(&self.gain)
            && self.forgetting.value(contrast) < -surely(&self.forgetting)
    }
}

impl Corner<'_> {
    /// Of the trained methods, and of all.
    pub fn hypervolumes(&self, points: &[(f64, f64)]) -> [f64; 2] {
        let trained = points
            .iter()
            .zip(self.trained)
            .filter(|(_, trained)| **trained);
        let trained: Vec<(f64, f64)> = trained.map(|(point, _)| *point).collect();
        [&trained, points].map(|points| hypervolume(points, self.forgetting))
    }
}

/// The value that a `level` share of them lies above; counted so that it is not below the truth for so few resamples.
pub fn upper_quantile(mut values: Vec<f64>, level: f64) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let rank = ((1.0 - level) * (values.len() + 1) as f64).ceil() as usize;
    values[rank.clamp(1, values.len()) - 1]
}

/// The interval by the resamples' distances from the value, turned round (the basic bootstrap): the largest of several noisy
/// figures is too large, and in a resample it is so once more.
fn around(value: f64, mut drawn: Vec<f64>) -> [f64; 2] {
    drawn.sort_unstable_by(f64::total_cmp);
    let at = |share: f64| drawn[((drawn.len() - 1) as f64 * share).round() as usize];
    [
        (2.0 * value - at(1.0 - LEVEL / 2.0)).max(0.0),
        (2.0 * value - at(LEVEL / 2.0)).max(0.0),
    ]
}
