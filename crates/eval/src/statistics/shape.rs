//! Shape of the distribution of a change over groups, and the resulting correction of bounds for skewness and unequal
//! sizes.

use super::Side;
use super::ratio::Pair;

/// Minimum effective number of groups for the verdict “kept”.
pub const FEWEST_EFFECTIVE: f64 = 15.0;
/// Lower limit of the effective number of groups, below which Student's expansion has no meaning.
const LEAST_EFFECTIVE: f64 = 3.0;
/// Skewness over √(effective groups) that normally distributed changes have by chance.
const CHANCE_SKEW: f64 = 0.07;
/// Maximum of the skewness in the correction. A sample with more skewness contains groups of the long tail, which
/// lengthen its interval already; a sample without them shows no skewness. In simulations, a higher maximum made
/// intervals up to four times as long and corrected no verdict.
const MOST_SKEW: f64 = 1.0;
/// Factor of the skewness beyond [`CHANCE_SKEW`] in moving an interval's end outward.
const INTERVAL_STRETCH: f64 = 2.0;
/// Factor of the skewness in moving a test's bound outward. It is larger than that of intervals, because a wrong
/// verdict costs more than a long interval.
const TEST_STRETCH: f64 = 7.0;
/// Factor of the unevenness of group sizes in moving a test's bound outward. With uneven sizes, the sample may lack
/// other large groups, whose changes may differ from those of small ones.
const SIZE_STRETCH: f64 = 0.2;

/// Shape of the distribution of the groups' changes around their mean.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    /// Effective number of groups; see [`effective_groups`].
    pub effective: f64,
    /// Skewness over √(effective groups); positive if a few groups increased far more than the rest.
    skew: f64,
    /// 1 − (Kish's effective number of groups by size) / groups; 0 for groups of equal size.
    unevenness: f64,
}

impl Shape {
    /// Computes the shape from the groups' sums relative to the mean change.
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

    /// Returns the factor by which an interval's end on `side` is moved outward. If a few groups are far out on that
    /// side, the sample may lack more of them.
    pub fn interval_stretch(self, side: Side) -> f64 {
        1.0 + INTERVAL_STRETCH * self.excess(side)
    }

    /// Returns the factor by which a test's bound is moved outward. The verdict “kept” requires a minimum of
    /// effective groups ([`Against::has_enough_groups`](super::Against::has_enough_groups)). A loss, shown by the
    /// lower bound, does not; instead, the lower bound is moved further with few groups.
    pub fn test_stretch(self, side: Side) -> f64 {
        let few = match side {
            Side::Upper => self.few_stretch(),
            Side::Lower => self.few_stretch().powi(2),
        };
        self.skew_stretch(side) * few
    }

    /// Returns the factor for the upper bound in the test of a gain. A sample of few groups that lacks the few large
    /// ones with a loss would seem to show a gain.
    pub fn gain_stretch(self) -> f64 {
        self.test_stretch(Side::Upper) * self.few_stretch()
    }

    /// Returns the part of [`Shape::test_stretch`] that does not shrink with more groups of the same kind.
    pub fn skew_stretch(self, side: Side) -> f64 {
        (1.0 + TEST_STRETCH * self.excess(side)) * (1.0 + SIZE_STRETCH * self.unevenness)
    }

    fn few_stretch(self) -> f64 {
        (FEWEST_EFFECTIVE / self.effective).max(1.0)
    }

    fn excess(self, side: Side) -> f64 {
        let skew = match side {
            Side::Upper => self.skew,
            Side::Lower => -self.skew,
        };
        (skew - CHANCE_SKEW).clamp(0.0, MOST_SKEW)
    }
}

/// Returns the number of equally large groups with normally distributed changes that would give the same precision as
/// the `centered` groups (e, bytes): the smallest of
///
/// - (Σ bytes)² / Σ bytes² (Kish 1965),
/// - 2 n / (κ − 1) + 1 with κ = n · Σ e⁴ / (Σ e²)²: the number of normally distributed groups whose variance is
///   estimated as precisely, since its error depends on the fourth moment (Satterthwaite 1946),
///
/// and at least 3, below which Student's expansion has no meaning.
fn effective_groups(centered: &[Pair]) -> f64 {
    let count = centered.len() as f64;
    let sum = |of: fn(&Pair) -> f64| centered.iter().map(of).sum::<f64>();
    let squares = sum(|pair| pair.nats.powi(2));
    let kurtosis = count * sum(|pair| pair.nats.powi(4)) / squares.powi(2);
    let freedom = 2.0 * count / (kurtosis - 1.0).max(1e-9);
    // Without variation the kurtosis is NaN, which `min` ignores.
    kish(centered).min(freedom + 1.0).max(LEAST_EFFECTIVE)
}

/// Returns Kish's effective number of groups by size, (Σ bytes)² / Σ bytes².
fn kish(groups: &[Pair]) -> f64 {
    let sum = |of: fn(&Pair) -> f64| groups.iter().map(of).sum::<f64>();
    sum(|pair| pair.bytes).powi(2) / sum(|pair| pair.bytes.powi(2))
}
