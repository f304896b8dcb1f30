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

#[cfg(test)]
mod tests {
    use super::*;

    fn groups(nats: &[f64], bytes: &[f64]) -> Vec<Pair> {
        let pairs = nats.iter().zip(bytes);
        pairs
            .map(|(nats, bytes)| Pair {
                nats: *nats,
                bytes: *bytes,
            })
            .collect()
    }

    fn near(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-9, "{found} {expected}");
    }

    /// Checks every factor by hand, for a shape with a skewness of 0.57, of which 0.07 is chance, with a third of
    /// the groups that a verdict takes and unevenness ¼.
    #[test]
    fn factors_are_those_by_hand() {
        let shape = Shape {
            effective: 5.0,
            skew: 0.57,
            unevenness: 0.25,
        };
        near(shape.interval_stretch(Side::Upper), 2.0);
        near(shape.interval_stretch(Side::Lower), 1.0);
        near(shape.skew_stretch(Side::Upper), 4.5 * 1.05);
        near(shape.skew_stretch(Side::Lower), 1.05);
        near(shape.test_stretch(Side::Upper), 4.5 * 1.05 * 3.0);
        near(shape.test_stretch(Side::Lower), 1.05 * 9.0);
        near(shape.gain_stretch(), 4.5 * 1.05 * 9.0);
        let down = Shape {
            effective: 60.0,
            skew: -9.0,
            unevenness: 0.0,
        };
        // No more than a skewness of 1 counts, and many groups shrink nothing.
        near(down.interval_stretch(Side::Lower), 3.0);
        near(down.test_stretch(Side::Lower), 8.0);
        near(down.test_stretch(Side::Upper), 1.0);
        near(down.gain_stretch(), 1.0);
    }

    /// Checks skewness, unevenness and effective groups by hand: of three groups by their number, of uneven ones by
    /// their sizes, and of twenty with one far out by their fourth moment.
    #[test]
    fn shapes_are_those_by_hand() {
        let three = Shape::of(&groups(&[-1.0, -1.0, 2.0], &[10.0; 3]));
        near(three.effective, 3.0);
        // The third moment 2 over the variance 2 to the power 3/2, over √3.
        near(three.skew, 0.5f64.sqrt() / 3f64.sqrt());
        near(three.unevenness, 0.0);
        let mut bytes = vec![1.0; 12];
        bytes.extend([6.0; 6]);
        let nats: Vec<f64> = (0..18)
            .map(|at| if at % 2 == 0 { 1.0 } else { -1.0 })
            .collect();
        let uneven = Shape::of(&groups(&nats, &bytes));
        // 48² / (12 + 216) = 10.105; the kurtosis of ±1 is 1, which does not count.
        near(uneven.effective, 2304.0 / 228.0);
        near(uneven.unevenness, 1.0 - 2304.0 / 228.0 / 18.0);
        near(uneven.skew, 0.0);
        let mut nats = vec![-1.0; 19];
        nats.push(19.0);
        let far = Shape::of(&groups(&nats, &[5.0; 20]));
        let kurtosis = 20.0 * (19.0 + 19f64.powi(4)) / 380f64.powi(2);
        near(far.effective, 40.0 / (kurtosis - 1.0) + 1.0);
        let flat = Shape::of(&groups(&[0.0; 8], &[5.0; 8]));
        assert_eq!((flat.effective, flat.skew), (8.0, 0.0));
    }
}
