//! Distribution of the weight change over the layers: layers whose change costs the retained domains little keep more
//! of it.
//!
//! Each layer keeps a share α of its change. If in each layer b the niche's gain is gᵦα and the retained domains'
//! increase is qᵦα², the largest gain for a given increase is at α ∝ gᵦ/qᵦ: layers whose change costs the retained
//! domains little for its gain keep more of it. Since layers are not independent, half of this tilt (α ∝ √(gᵦ/qᵦ)) is
//! tried too.

use std::collections::BTreeMap;

use polymath_eval::Shares;

/// Minimum share of a layer's weight change relative to the largest share, so that a noisy measurement does not remove
/// a layer's change.
const LEAST: f64 = 1.0 / 16.0;
/// Maximum share of a layer's weight change. A share above 1 extrapolates beyond the last checkpoint, as Zheng 2025
/// does from a tuned model: retention slowed down the niche's progress too, so extrapolation helps the niche if the
/// limits allow it. Beyond this maximum, extrapolation is unreliable.
pub(super) const MOST: f64 = 2.0;

/// Maximum number of groups of adjacent layers whose gain and cost are measured separately. Each group takes one
/// evaluation, and adjacent layers of a deep model differ little.
const STRETCHES: usize = 8;

/// Benefit for the niche and cost for the retained domains of one layer's weight change, measured by resetting the
/// layer.
#[derive(Debug, Clone, Copy)]
pub(super) struct LayerEffect {
    /// Gain: increase of the niche's bits per byte if the layer is reset.
    pub gain: f64,
    /// Cost: amount by which the retained domains forget less if the layer is reset, as a share of their limits (mean
    /// over the domains).
    pub rise: f64,
}

impl LayerEffect {
    /// Divides the gain and cost that `blocks` blocks have together equally among them.
    pub(super) fn of_each(self, blocks: usize) -> Self {
        Self {
            gain: self.gain / blocks as f64,
            rise: self.rise / blocks as f64,
        }
    }
}

/// Returns the number of groups of adjacent layers that [`stretches`] makes for a model of `layers` layers.
pub(super) fn stretches_of(layers: usize) -> usize {
    layers.div_ceil(length_of_stretch(layers))
}

fn length_of_stretch(layers: usize) -> usize {
    layers.div_ceil(STRETCHES).max(1)
}

/// Divides the blocks of a model into groups whose gain and cost are measured together: each layer alone if there are
/// at most eight, else adjacent layers together. Every block other than a layer, such as the embedding, is a group of
/// its own.
pub(super) fn stretches(shares: &Shares) -> Vec<Vec<&String>> {
    // The alphabetical order of the names is the order of the layers.
    let (layers, others): (Vec<&String>, Vec<&String>) =
        shares.keys().partition(|block| block.starts_with("layer "));
    let others = others.into_iter().map(|block| vec![block]);
    let layers = layers.chunks(length_of_stretch(layers.len()));
    others.chain(layers.map(<[_]>::to_vec)).collect()
}

/// Returns the share of each layer's weight change, ∝ (gain/rise)^`power` and scaled to a maximum of 1.
pub(super) fn tilt(prices: &BTreeMap<String, LayerEffect>, power: f64) -> Shares {
    let worth: BTreeMap<&String, f64> = prices
        .iter()
        .map(|(block, price)| {
            let worth = match price {
                LayerEffect { rise, .. } if *rise <= 0.0 => f64::INFINITY,
                LayerEffect { gain, rise } => (gain.max(0.0) / rise).powf(power),
            };
            (block, worth)
        })
        .collect();
    let finite = worth.values().copied().filter(|worth| worth.is_finite());
    // A layer without cost gets as much as the best one that has a cost.
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

/// Multiplies the layers' shares in `direction` by `scale`, and limits each to [`MOST`].
pub(super) fn along(direction: &Shares, scale: f64) -> Shares {
    direction
        .iter()
        .map(|(block, share)| (block.clone(), (share * scale).min(MOST)))
        .collect()
}

/// Returns the smallest scale at which every layer of `direction` has its maximum share [`MOST`].
pub(super) fn whole(direction: &Shares) -> f64 {
    MOST / direction.values().copied().fold(1.0, f64::min)
}

/// Returns the scale of `direction` at which the retained domains should increase about as much as with the same share
/// `alpha` in every layer: equal Σ qα², with the layer's cost q and its share α.
pub(super) fn as_far_as(
    direction: &Shares,
    prices: &BTreeMap<String, LayerEffect>,
    alpha: f64,
) -> f64 {
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

    fn prices() -> BTreeMap<String, LayerEffect> {
        // Layers: expensive, cheap, in between, and one without cost.
        [
            ("a", 1.0, 4.0),
            ("b", 1.0, 0.5),
            ("c", 1.0, 1.0),
            ("d", 0.1, -0.1),
        ]
        .map(|(name, gain, rise)| (name.to_owned(), LayerEffect { gain, rise }))
        .into()
    }

    fn shares(values: [f64; 4]) -> Shares {
        ["a", "b", "c", "d"]
            .map(str::to_owned)
            .into_iter()
            .zip(values)
            .collect()
    }

    /// Checks that a layer's share is ∝ gain/cost or its square root, that a layer without cost gets the largest share,
    /// and that no share is below a sixteenth.
    #[test]
    fn layers_that_cost_little_keep_more() {
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

    /// Checks that the layers of a small model are measured one by one, those of a deep model in groups of adjacent
    /// layers that cover all of them, and that a group's gain and cost are divided among its layers.
    #[test]
    fn layers_of_a_deep_model_are_measured_together() {
        let model = |layers: usize| -> Shares {
            let layers = (0..layers).map(|layer| (format!("layer {layer:03}"), 1.0));
            let all = layers.chain([("embedding and head".to_owned(), 1.0)]);
            all.collect()
        };
        for (layers, parts, longest) in [(1, 1, 1), (8, 8, 1), (9, 5, 2), (30, 8, 4), (64, 8, 8)] {
            let shares = model(layers);
            let found = stretches(&shares);
            assert_eq!(found.len(), 1 + parts, "{layers}");
            assert_eq!(stretches_of(layers), parts);
            assert_eq!(found[0], ["embedding and head"]);
            assert_eq!(found[1].len(), longest, "{layers}");
            let all: Vec<&String> = found.into_iter().flatten().collect();
            assert_eq!(all, shares.keys().collect::<Vec<_>>());
        }
        let price = LayerEffect {
            gain: 1.0,
            rise: 2.0,
        };
        let each = price.of_each(4);
        assert_eq!((each.gain, each.rise), (0.25, 0.5));
    }

    /// Checks shares without a cost or a gain: a layer whose reset costs exactly nothing counts as the best one, and
    /// if no layer gains anything, all keep the same share.
    #[test]
    fn layers_without_cost_or_gain_have_a_share() {
        let prices = |values: [(f64, f64); 3]| -> BTreeMap<String, LayerEffect> {
            let prices = values.map(|(gain, rise)| LayerEffect { gain, rise });
            ["a", "b", "c"]
                .map(str::to_owned)
                .into_iter()
                .zip(prices)
                .collect()
        };
        let values = |shares: Shares| shares.into_values().collect::<Vec<f64>>();
        let free = prices([(0.0, 0.0), (3.0, 4.0), (3.0, 2.0)]);
        assert_eq!(values(tilt(&free, 1.0)), [1.0, 0.5, 1.0]);
        let useless = prices([(-1.0, 2.0), (0.0, 3.0), (-2.0, 0.5)]);
        assert_eq!(values(tilt(&useless, 1.0)), [1.0; 3]);
    }

    /// Checks the scale of a direction by hand: rises of 4 and 2 at shares of 1/2 and 1 make 3, half of the 6 that all
    /// layers alike make, so that the scale is √2 times α. A domain that improves counts as 0, and no scale exceeds the
    /// one at which every layer is at its maximum.
    #[test]
    fn a_direction_reaches_as_far_as_equal_shares() {
        let of = |rises: [f64; 2], alpha: f64| {
            let names = ["a", "b"].map(str::to_owned);
            let price = |rise| LayerEffect { gain: 1.0, rise };
            let prices = names.clone().into_iter().zip(rises.map(price)).collect();
            let direction = names.into_iter().zip([0.5, 1.0]).collect();
            as_far_as(&direction, &prices, alpha)
        };
        assert!((of([4.0, 2.0], 0.3) - 0.3 * 2f64.sqrt()).abs() < 1e-12);
        assert!((of([4.0, -2.0], 0.3) - 0.6).abs() < 1e-12);
        assert_eq!(of([4.0, 2.0], 30.0), 2.0 * MOST);
        assert_eq!(of([0.0, -1.0], 0.3), 2.0 * MOST);
    }

    /// Checks that the tilted shares give the largest gain of the niche for a given increase of the retained domains,
    /// if gain is linear and cost quadratic in a layer's share.
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
            // Increases one layer's share a little and rescales to the same increase of the retained domains.
            let mut other = tilted.clone();
            *other.get_mut(block).unwrap() *= 1.1;
            let (gain, rise) = worth(&other);
            assert!(gain * (odd.1 / rise).sqrt() < odd.0);
        }
    }
}
