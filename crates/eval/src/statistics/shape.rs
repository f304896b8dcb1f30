//! How unevenly groups carry a change, and how far its bounds are moved outward for that.

use super::Side;
use super::ratio::Pair;

/// Fewer effective groups than these never show that a limit is kept.
pub const FEWEST_EFFECTIVE: f64 = 15.0;
/// Below so many effective groups, Student's expansion is of no use.
const LEAST_EFFECTIVE: f64 = 3.0;
/// Skewness over √(effective groups) that normal changes show by chance.
const CHANCE_SKEW: f64 = 0.07;
/// How much an interval's end is moved outward for each unit of skewness beyond [`CHANCE_SKEW`].
const INTERVAL_STRETCH: f64 = 2.0;
/// The same of a test's bound: a wrong verdict costs more than a long interval.
const TEST_STRETCH: f64 = 7.0;
/// How much a test's bound is moved outward where one group holds all of the text: the sample may lack other large ones, whose
/// changes may differ from those of small ones.
const SIZE_STRETCH: f64 = 0.2;

/// The shape of the groups' changes around their mean.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    /// See [`effective_groups`].
    pub effective: f64,
    /// Skewness over √(effective groups): above 0 where a few groups changed far more upward than the rest.
    skew: f64,
    /// 1 − (Kish's effective number of groups by size) / groups: 0 where all groups are of one size.
    unevenness: f64,
}

impl Shape {
    /// Of groups' sums around the mean change.
    pub fn of(centered: &[Pair]) -> Self {
        let count = centered.len() as f64;
        let mean = |power: i32| {
            let powers = centered.iter().map(|pair| pair.nats.powi(power));
            powers.sum::<f64>() / count
        };
        let effective = effective_groups(centered);
        let variance = mean(2);
        let skewness = if variance > 0.0 {
            mean(3) / variance.powf(1.5)
        } else {
            0.0
        };
        Self {
            effective,
            skew: skewness / effective.sqrt(),
            unevenness: 1.0 - kish(centered) / count,
        }
    }

    /// The factor by which an interval reaches further on `side`: where a few groups lie far out there, more of them may be
    /// missing from the sample.
    pub fn interval_stretch(self, side: Side) -> f64 {
        1.0 + INTERVAL_STRETCH * self.excess(side)
    }

    /// The factor by which a test's bound lies further out.
    pub fn test_stretch(self, side: Side) -> f64 {
        self.skew_stretch(side) * (FEWEST_EFFECTIVE / self.effective).max(1.0)
    }

    /// The part of [`Shape::test_stretch`] that more groups of the same kind would not take away.
    pub fn skew_stretch(self, side: Side) -> f64 {
        (1.0 + TEST_STRETCH * self.excess(side)) * (1.0 + SIZE_STRETCH * self.unevenness)
    }

    fn excess(self, side: Side) -> f64 {
        let skew = match side {
            Side::Upper => self.skew,
            Side::Lower => -self.skew,
        };
        (skew - CHANCE_SKEW).max(0.0)
    }
}

/// How many groups of one size, whose changes scatter normally, would tell as much, of `centered` ones (e, bytes): the
/// least of
///
/// - (Σ bytes)² / Σ bytes² (Kish 1965),
/// - 2 n / (κ − 1) + 1 with κ = n · Σ e⁴ / (Σ e²)²: as many show as little of the spread, whose estimate varies with the
///   fourth moment (Satterthwaite 1946),
///
/// and 3 at least, below which Student's expansion is of no use.
fn effective_groups(centered: &[Pair]) -> f64 {
    let count = centered.len() as f64;
    let sum = |of: fn(&Pair) -> f64| centered.iter().map(of).sum::<f64>();
    let squares = sum(|pair| pair.nats.powi(2));
    let kurtosis = count * sum(|pair| pair.nats.powi(4)) / squares.powi(2);
    let freedom = 2.0 * count / (kurtosis - 1.0).max(1e-9);
    // Where nothing scatters, the kurtosis is no number, which `min` passes over.
    kish(centered).min(freedom + 1.0).max(LEAST_EFFECTIVE)
}

/// (Σ bytes)² / Σ bytes²
fn kish(groups: &[Pair]) -> f64 {
    let sum = |of: fn(&Pair) -> f64| groups.iter().map(of).sum::<f64>();
    sum(|pair| pair.bytes).powi(2) / sum(|pair| pair.bytes.powi(2))
}
