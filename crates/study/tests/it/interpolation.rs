//! Tests of interpolation: exact end points, mixtures between them, and the choice of a point.

use std::collections::BTreeMap;

use candle_core::Device;
use polymath_data::NamedShard;
use polymath_eval::{Endpoints, Interpolation, WindowOptions};
use polymath_model::LoadOptions;
use polymath_study::interpolate::{Point, Rule, Search, grid};

use crate::support::tiny::{frozen, named, ops, save, values};

fn rule(limit: f64) -> Rule {
    Rule {
        niche: "niche".into(),
        limit,
    }
}

/// Checks that the weights at α = 0 are the base's and at α = 1 the tuned model's, bit for bit, that they are
/// interpolated linearly in between, and that a block can have its own share.
#[test]
fn ends_are_exact() {
    let root = tempfile::tempdir().unwrap();
    let folders = (root.path().join("base"), root.path().join("tuned"));
    save(&folders.0, 1);
    save(&folders.1, 2);
    let domains = [named("niche", 12), named("retained", 30)];
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
    let (base, tuned) = (frozen(1), frozen(2));
    let at = |alpha: f64| between.blend(&between.alike(alpha)).unwrap();
    let (zero, half, one) = (at(0.0), at(0.5), at(1.0));
    for (name, weight) in base.frozen() {
        let (a, b) = (values(weight), values(&tuned.frozen()[name]));
        assert_eq!(values(&zero[name]), a, "{name}");
        assert_eq!(values(&one[name]), b, "{name}");
        for (middle, (a, b)) in values(&half[name]).iter().zip(a.iter().zip(&b)) {
            assert!((middle - (a + b) / 2.0).abs() < 1e-6, "{name}");
        }
    }
    let mut shares = between.alike(0.0);
    shares.insert("layer 001".into(), 1.0);
    let mixed = between.blend(&shares).unwrap();
    for (name, weight) in &mixed {
        let expected = match name.starts_with("model.layers.1.") {
            true => &tuned,
            false => &base,
        };
        assert_eq!(values(weight), values(&expected.frozen()[name]), "{name}");
    }

    // On the curve, the base has no increase, both splits are scored, and shares per block are no worse than a common
    // share.
    let rule = rule(0.01);
    let alphas = grid(&[0.5]).unwrap();
    let mut said = 0;
    let search = Search {
        models: &between,
        rule: &rule,
    };
    let found = search.run(&alphas, true, &mut |_| said += 1).unwrap();
    assert_eq!((found.points.len(), said), (4, 4));
    assert_eq!(found.points[0].alpha, Some(0.0));
    assert_eq!(
        (
            found.points[0].mean_increase,
            found.points[0].test_mean_increase
        ),
        (0.0, 0.0)
    );
    assert!(
        found
            .points
            .iter()
            .all(|point| point.test.len() == 2 && point.dev != point.test)
    );
    let alike = rule.choose(&found.points[..3]);
    assert!(found.points[3].dev["niche"] <= found.points[alike].dev["niche"]);
    assert!(found.within_limit);
    // A head, the points, an empty line and a sentence.
    assert_eq!(found.table(&rule).lines().count(), 1 + 4 + 2);
}

fn point(increase: f64, niche: f64) -> Point {
    Point {
        alpha: Some(0.5),
        shares: BTreeMap::new(),
        mean_increase: increase,
        dev: BTreeMap::from([("niche".into(), niche), ("retained".into(), 1.0)]),
        test_mean_increase: 0.0,
        test: BTreeMap::new(),
    }
}

/// Checks that the point with the best niche within the limit is chosen, and the smallest increase if no point is
/// within it.
#[test]
fn choice_is_the_best_niche_within_the_limit() {
    let points = [point(0.0, 3.0), point(0.015, 2.0), point(0.03, 1.0)];
    assert_eq!(rule(0.02).choose(&points), 1);
    assert_eq!(rule(0.1).choose(&points), 2);
    assert_eq!(rule(0.0).choose(&points), 0);
    assert_eq!(rule(0.01).choose(&points[1..]), 0);
    assert!(!rule(0.01).keeps(&points[1]));
    // The mean is over the retained domains only.
    let before = BTreeMap::from([("a".into(), 1.0), ("b".into(), 2.0), ("niche".into(), 9.0)]);
    let after = BTreeMap::from([("a".into(), 1.2), ("b".into(), 2.0), ("niche".into(), 1.0)]);
    assert!((rule(0.0).mean_increase(&before, &after) - 0.1).abs() < 1e-12);
}

/// Checks that the grid always contains 0 and 1, in order, and that a share outside 0 to 1 is refused.
#[test]
fn grids_contain_both_ends() {
    assert_eq!(grid(&[0.7, 0.2, 0.7]).unwrap(), [0.0, 0.2, 0.7, 1.0]);
    assert!(grid(&[1.5]).unwrap_err().to_string().contains("`1.5`"));
}

/// Checks that models of other shapes, and domains without documents in a split, are refused by name.
#[test]
fn mismatched_models_and_domains_are_refused() {
    let root = tempfile::tempdir().unwrap();
    let folders = (root.path().join("base"), root.path().join("tuned"));
    save(&folders.0, 1);
    save(&folders.1, 2);
    let open = |domains: &[NamedShard]| {
        Interpolation::open(
            Endpoints {
                base: &folders.0,
                tuned: &folders.1,
            },
            domains,
            WindowOptions::default(),
            LoadOptions::frozen(&Device::Cpu, ops()),
        )
        .map(drop)
        .unwrap_err()
        .to_string()
    };
    let error = open(&[named("single", 1)]);
    assert!(
        error.contains("`single`") && error.contains("held-out documents is in `test`"),
        "{error}"
    );
    let config = std::fs::read_to_string(folders.1.join("config.json")).unwrap();
    let config = config.replace("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1");
    std::fs::write(folders.1.join("config.json"), config).unwrap();
    let error = open(&[]);
    assert!(
        error.contains("layers.1") && error.contains("has no place for"),
        "{error}"
    );
}
