//! How the run's changes are shared out over the blocks of the model.
//!
//! Each block keeps a share α of its change. Where the niche's gain is gᵦα and the old domains' rise qᵦα² in each block, the
//! most gain for a given rise is had at α ∝ gᵦ/qᵦ: blocks whose change costs the old domains little for what it gains keep
//! more of it. Blocks are not independent, so that half of this tilt (α ∝ √(gᵦ/qᵦ)) is tried as well.

use std::collections::BTreeMap;

use polymath_eval::Shares;

/// A block has at least this share of what the one with the most has, lest what was measured of it with noise takes it out.
const LEAST: f64 = 1.0 / 16.0;
/// How far beyond the run's end a block may go: what held the run back has held the niche's own way back, too, on which more is
/// to be had where there is room (Zheng 2025 extrapolates so from a tuned model). Farther than this it is guessing.
pub(super) const MOST: f64 = 2.0;

/// What a block's change brings and costs, by putting it back.
#[derive(Debug, Clone, Copy)]
pub(super) struct Price {
    /// What the niche loses without it.
    pub gain: f64,
    /// By how much the old domains' rise falls without it.
    pub rise: f64,
}

/// Shares relative to one another, the largest 1: (gain/rise)^`power`.
pub(super) fn tilt(prices: &BTreeMap<String, Price>, power: f64) -> Shares {
    let worth: BTreeMap<&String, f64> = prices
        .iter()
        .map(|(block, price)| {
            let worth = match price {
                Price { rise, .. } if *rise <= 0.0 => f64::INFINITY,
                Price { gain, rise } => (gain.max(0.0) / rise).powf(power),
            };
            (block, worth)
        })
        .collect();
    let finite = worth.values().copied().filter(|worth| worth.is_finite());
    // What costs nothing is worth as much as the most that has a price.
    let most = finite.fold(0.0, f64::max);
    let relative = |worth: f64| match most > 0.0 {
        true => (worth.min(most) / most).max(LEAST),
        false => 1.0,
    };
    worth
        .into_iter()
        .map(|(block, worth)| (block.clone(), relative(worth)))
        .collect()
}

/// `direction` times `scale`, no block above [`MOST`].
pub(super) fn along(direction: &Shares, scale: f64) -> Shares {
    direction
        .iter()
        .map(|(block, share)| (block.clone(), (share * scale).min(MOST)))
        .collect()
}

/// The scale from which on every block has the most.
pub(super) fn whole(direction: &Shares) -> f64 {
    MOST / direction.values().copied().fold(1.0, f64::min)
}

/// Where along `direction` the old domains' rise is about what it is at `alpha` in every block: Σ qα² is the same.
pub(super) fn as_far_as(direction: &Shares, prices: &BTreeMap<String, Price>, alpha: f64) -> f64 {
    let rise = |block: &String| prices[block].rise.max(0.0);
    let alike: f64 = direction.keys().map(rise).sum();
    let tilted: f64 = direction
        .iter()
        .map(|(block, share)| rise(block) * share * share)
        .sum();
    match tilted > 0.0 {
        true => (alpha * (alike / tilted).sqrt()).min(whole(direction)),
        false => whole(direction),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prices() -> BTreeMap<String, Price> {
        // Dear, cheap, in between, and one that costs nothing.
        [
            ("a", 1.0, 4.0),
            ("b", 1.0, 0.5),
            ("c", 1.0, 1.0),
            ("d", 0.1, -0.1),
        ]
        .map(|(name, gain, rise)| (name.to_owned(), Price { gain, rise }))
        .into()
    }

    fn shares(values: [f64; 4]) -> Shares {
        ["a", "b", "c", "d"]
            .map(str::to_owned)
            .into_iter()
            .zip(values)
            .collect()
    }

    /// Shares go as gain over rise, or its root; what costs nothing has the most, and nobody less than a sixteenth.
    #[test]
    fn cheap_blocks_keep_more() {
        assert_eq!(tilt(&prices(), 1.0), shares([0.125, 1.0, 0.5, 1.0]));
        let root = tilt(&prices(), 0.5);
        assert!((root["a"] - 0.125f64.sqrt()).abs() < 1e-12);
        let mut useless = prices();
        useless.get_mut("a").unwrap().gain = -1.0;
        assert_eq!(tilt(&useless, 1.0)["a"], LEAST);
        assert_eq!(
            along(&shares([0.125, 1.0, 0.5, 1.0]), 4.0),
            shares([0.5, MOST, MOST, MOST])
        );
        assert_eq!(whole(&shares([0.125, 1.0, 0.5, 1.0])), 8.0 * MOST);
    }

    /// In the model that it rests on, no other shares gain more for the same rise.
    #[test]
    fn the_tilt_is_the_best_of_its_model() {
        let mut prices = prices();
        prices.remove("d");
        let worth = |shares: &Shares| {
            let of = |block: &String| (shares[block], prices[block]);
            let gain: f64 = shares
                .keys()
                .map(of)
                .map(|(share, price)| price.gain * share)
                .sum();
            let rise: f64 = shares
                .keys()
                .map(of)
                .map(|(share, price)| price.rise * share * share)
                .sum();
            (gain, rise)
        };
        let alike = tilt(&prices, 0.0);
        let direction = tilt(&prices, 1.0);
        let tilted = along(&direction, as_far_as(&direction, &prices, 0.3));
        let (even, odd) = (worth(&along(&alike, 0.3)), worth(&tilted));
        assert!((even.1 - odd.1).abs() < 1e-12, "{even:?} {odd:?}");
        assert!(odd.0 > 1.2 * even.0, "{even:?} {odd:?}");
        for block in ["a", "b", "c"] {
            // A little more of one block, all together held at the same rise.
            let mut other = tilted.clone();
            *other.get_mut(block).unwrap() *= 1.1;
            let (gain, rise) = worth(&other);
            assert!(gain * (odd.1 / rise).sqrt() < odd.0);
        }
    }
}
