//! Test of an interpolation with three retained domains and two values of α, in which each number is checked against
//! its definition.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use polymath_data::{HeldoutSplit, NamedShard};
use polymath_eval::{Endpoints, Interpolation, WindowOptions, score_shard};
use polymath_model::{LoadOptions, Transformer};
use polymath_study::interpolate::{Rule, Search, grid};

use crate::support::tiny::{frozen, named, ops, save, values};

const SHARES: [f64; 4] = [0.0, 0.25, 0.7, 1.0];

/// Returns (1 − α)·base + α·tuned, element by element.
fn mixed(alpha: f64) -> BTreeMap<String, Vec<f64>> {
    let (base, tuned) = (frozen(1), frozen(2));
    let mix = |(name, base): (&String, &Tensor)| {
        let pairs = values(base).into_iter().zip(values(&tuned.frozen()[name]));
        let mixed = pairs.map(|(a, b)| (1.0 - alpha) * a + alpha * b).collect();
        (name.clone(), mixed)
    };
    base.frozen().iter().map(mix).collect()
}

fn model(alpha: f64) -> Transformer {
    let like = frozen(1);
    let tensor = |(name, values): (String, Vec<f64>)| {
        let values: Vec<f32> = values.into_iter().map(|x| x as f32).collect();
        let dims = like.frozen()[&name].dims().to_vec();
        (name, Tensor::from_vec(values, dims, &Device::Cpu).unwrap())
    };
    let weights = mixed(alpha).into_iter().map(tensor).collect();
    let options = LoadOptions::frozen(&Device::Cpu, ops());
    Transformer::from_weights(like.config().clone(), weights, &options).unwrap()
}

/// Returns the held-out documents of the niche and of three retained domains.
fn domains() -> Vec<NamedShard> {
    [("niche", 12), ("first", 30), ("second", 9), ("third", 17)]
        .map(|(name, documents)| named(name, documents))
        .into()
}

/// Checks that the weights at α = 0.25 and 0.7 equal mixtures computed separately, that the mean increase on each
/// split is over the three retained domains, and that the rule chooses the expected point.
#[test]
fn points_match_separate_mixtures() {
    let root = tempfile::tempdir().unwrap();
    let folders = (root.path().join("base"), root.path().join("tuned"));
    save(&folders.0, 1);
    save(&folders.1, 2);
    let domains = domains();
    let between = Interpolation::open(
        Endpoints {
            base: &folders.0,
            tuned: &folders.1,
        },
        &domains,
        WindowOptions::default(),
        LoadOptions::frozen(&Device::Cpu, ops()),
    )
    .unwrap();
    for alpha in [0.25, 0.7] {
        let found = between.blend(&between.alike(alpha)).unwrap();
        for (name, expected) in mixed(alpha) {
            for (found, expected) in values(&found[&name]).iter().zip(&expected) {
                assert!(
                    (found - expected).abs() < 1e-6,
                    "{alpha}, `{name}`: {found} for {expected}"
                );
            }
        }
    }

    let measured = |alpha: f64, split: HeldoutSplit| -> BTreeMap<String, f64> {
        let windows = WindowOptions {
            split: Some(split),
            ..WindowOptions::default()
        };
        let model = model(alpha);
        let of = |NamedShard { name, shard }: &NamedShard| {
            let scores = score_shard(&model, shard, windows, &mut |_, _| {}).unwrap();
            (name.clone(), scores.bits_per_byte())
        };
        domains.iter().map(of).collect()
    };
    let mean_rise = |before: &BTreeMap<String, f64>, after: &BTreeMap<String, f64>| {
        let rise = |name: &str| after[name] - before[name];
        (rise("first") + rise("second") + rise("third")) / 3.0
    };
    let splits = [HeldoutSplit::Dev, HeldoutSplit::Test];
    let expected = SHARES.map(|alpha| splits.map(|split| measured(alpha, split)));
    let rises: Vec<[f64; 2]> = expected
        .iter()
        .map(|point| [0, 1].map(|split| mean_rise(&expected[0][split], &point[split])))
        .collect();
    // Three limits: all points are within the first, some within the second, and one within the third.
    let mut sorted: Vec<f64> = rises.iter().map(|rise| rise[0]).collect();
    sorted.sort_by(f64::total_cmp);
    for limit in [
        sorted[3] + 1.0,
        (sorted[1] + sorted[2]) / 2.0,
        (sorted[0] + sorted[1]) / 2.0,
    ] {
        let rule = Rule {
            niche: "niche".into(),
            limit,
        };
        let search = Search {
            models: &between,
            rule: &rule,
        };
        let found = search
            .run(&grid(&[0.25, 0.7]).unwrap(), false, &mut |_| {})
            .unwrap();
        assert_eq!(found.points.len(), 4);
        for (at, point) in found.points.iter().enumerate() {
            assert_eq!(point.alpha, Some(SHARES[at]));
            for (split, bits) in [&point.dev, &point.test].into_iter().enumerate() {
                for (name, bits) in bits {
                    let expected = expected[at][split][name];
                    assert!(
                        (bits - expected).abs() < 1e-5 * expected,
                        "{at}, `{name}`: {bits}"
                    );
                }
            }
            assert!((point.mean_increase - rises[at][0]).abs() < 1e-4, "{at}");
            assert!(
                (point.test_mean_increase - rises[at][1]).abs() < 1e-4,
                "{at}"
            );
        }
        let inside = (0..4).filter(|at| rises[*at][0] <= limit);
        let niche = |at: &usize| expected[*at][0]["niche"];
        let by_hand = inside.min_by(|a, b| niche(a).total_cmp(&niche(b))).unwrap();
        assert_eq!(found.chosen, by_hand, "limit {limit}");
        assert!(found.within_limit);
    }
}
