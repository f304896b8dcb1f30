//! Tests of the statistics against numpy and scipy, with values from `scripts/check/statistics_reference.py`.

use polymath_eval::statistics::Figure;
use polymath_eval::statistics::{
    Compared, Dyad, Family, LEVEL, PairedBootstrap, Side, holm, mcnemar, proportion, spearman,
    t_below, t_quantile,
};
use polymath_eval::{DocumentScore, DomainScores};
use serde_json::Value;

use crate::support::values::{fixture, near, number, numbers, whole};

fn truths(value: &Value) -> Vec<bool> {
    let items = value.as_array().unwrap();
    items.iter().map(|item| item.as_bool().unwrap()).collect()
}

/// Checks Student's quantiles and distribution function against scipy, for integer and fractional degrees of freedom.
#[test]
fn student_matches_scipy() {
    for case in fixture()["quantiles"].as_array().unwrap() {
        let (below, freedom) = (number(&case["below"]), number(&case["freedom"]));
        near(
            t_quantile(below, freedom),
            number(&case["value"]),
            "quantile",
        );
        near(
            t_below(1.3 * below, freedom),
            number(&case["back"]),
            "share",
        );
    }
}

/// Checks Wilson's, Newcombe's and Clopper–Pearson's intervals, McNemar's mid-p-value (with and without groups) and
/// Holm's correction against scipy.
#[test]
fn proportions_match_scipy() {
    let fixture = fixture();
    let figure = |found: Figure, expected: &Value, what: &str| {
        let [low, high] = found.interval.unwrap();
        let expected = numbers(expected);
        for (found, expected) in [found.value, low, high].iter().zip(expected) {
            near(*found, expected, what);
        }
    };
    for case in fixture["answers"].as_array().unwrap() {
        let (base, tuned) = (truths(&case["base"]), truths(&case["tuned"]));
        let groups = whole(&case["groups"]);
        figure(proportion::share(&base, &groups), &case["share"], "share");
        let change = proportion::paired_change(&base, &tuned, &groups);
        figure(change, &case["change"], "change");
        near(
            mcnemar(&base, &tuned, &groups),
            number(&case["p_value"]),
            "mid-p",
        );
    }
    for case in fixture["at_least"].as_array().unwrap() {
        let (well, of) = (case[0].as_u64().unwrap(), case[1].as_u64().unwrap());
        near(proportion::at_least(well, of), number(&case[2]), "at least");
    }
    let adjusted = holm(&numbers(&fixture["holm"]["p_values"]));
    for (found, expected) in adjusted.iter().zip(numbers(&fixture["holm"]["adjusted"])) {
        near(*found, expected, "Holm");
    }
}

/// Checks Spearman's ρ over ordered pairs of domains against scipy, with every relabeling and the jackknife over
/// domains.
#[test]
fn correlations_match_scipy() {
    for case in fixture()["mantel"].as_array().unwrap() {
        let dyad = |item: &Value| Dyad {
            row: item[0].as_u64().unwrap() as usize,
            column: item[1].as_u64().unwrap() as usize,
            values: [number(&item[2]), number(&item[3])],
        };
        let dyads: Vec<Dyad> = case["dyads"].as_array().unwrap().iter().map(dyad).collect();
        let found = spearman(&dyads, 1).unwrap();
        near(found.value, number(&case["value"]), "ρ");
        near(found.p_value, number(&case["p_value"]), "Mantel");
        let interval = numbers(&case["interval"]);
        for (end, expected) in found.interval.unwrap().iter().zip(interval) {
            near(*end, expected, "jackknife");
        }
    }
}

fn scores(nats: impl Iterator<Item = f64>, sizes: &[u64], groups: Vec<u64>) -> DomainScores {
    let document = |(nats, bytes): (f64, &u64)| DocumentScore {
        nats,
        tokens: 1,
        bytes: *bytes,
    };
    DomainScores {
        documents: nats.zip(sizes).map(document).collect(),
        groups,
        ..DomainScores::default()
    }
}

/// Checks the bootstrap over groups against numpy: value, interval, bounds of two levels, groups, effective groups
/// and p-values.
#[test]
fn bootstraps_match_numpy() {
    for case in fixture()["bootstrap"].as_array().unwrap() {
        let documents = case["documents"].as_array().unwrap();
        let sizes: Vec<u64> = documents
            .iter()
            .map(|one| one[1].as_u64().unwrap())
            .collect();
        let groups: Vec<u64> = documents
            .iter()
            .map(|one| one[2].as_u64().unwrap())
            .collect();
        let base = scores(sizes.iter().map(|_| 0.0), &sizes, groups.clone());
        let tuned = scores(documents.iter().map(|one| number(&one[0])), &sizes, groups);
        let resamples = case["resamples"].as_u64().unwrap() as usize;
        let seed = case["seed"].as_u64().unwrap();
        let found = PairedBootstrap::new(&base, &tuned, resamples, seed).unwrap();
        let change = found.change();
        near(change.value, number(&case["value"]), "value");
        assert_eq!(change.groups as u64, case["groups"].as_u64().unwrap());
        near(
            change.effective_groups,
            number(&case["effective_groups"]),
            "effective groups",
        );
        for (end, expected) in change
            .interval
            .unwrap()
            .iter()
            .zip(numbers(&case["interval"]))
        {
            near(*end, expected, "interval");
        }
        for (level, key) in [(LEVEL, "bounds"), (0.1, "bounds_of_ten_percent")] {
            let bounds = numbers(&case[key]);
            for (side, expected) in [Side::Lower, Side::Upper].into_iter().zip(bounds) {
                near(found.bound(side, level).unwrap(), expected, key);
                // The p-value is the inverse of the bound: at a level's bound, it equals the level. Five groups with
                // so few resamples can't reach 5 %.
                let p_value = found.against(expected).unwrap().p_value;
                let slack = 2.5 / resamples as f64;
                assert!(
                    (p_value - level).abs() < slack || change.groups < 10,
                    "{key}: {p_value}"
                );
            }
        }
    }
}

/// Checks Romano & Wolf's p-values and the simultaneous intervals of all pairs of four models on the same groups.
#[test]
fn families_match_numpy() {
    let case = &fixture()["family"];
    let sizes = whole(&case["sizes"]);
    let models: Vec<DomainScores> = case["nats"]
        .as_array()
        .unwrap()
        .iter()
        .map(|nats| scores(numbers(nats).into_iter(), &sizes, Vec::new()))
        .collect();
    let mut pairs = Vec::new();
    for (after, model) in models.iter().enumerate() {
        for before in &models[..after] {
            pairs.push(vec![Compared {
                domain: "prose",
                before,
                after: model,
            }]);
        }
    }
    let resamples = case["resamples"].as_u64().unwrap() as usize;
    let family = Family::of_means(&pairs, resamples, case["seed"].as_u64().unwrap()).unwrap();
    for (found, expected) in family.comparisons().iter().zip(numbers(&case["values"])) {
        near(found.value, expected, "difference");
    }
    for (found, expected) in family
        .adjusted_p_values()
        .iter()
        .zip(numbers(&case["adjusted"]))
    {
        near(*found, expected, "adjusted p");
    }
    let intervals = case["intervals"].as_array().unwrap();
    for (found, expected) in family.intervals(LEVEL).iter().zip(intervals) {
        for (end, expected) in found.iter().zip(numbers(expected)) {
            near(*end, expected, "simultaneous interval");
        }
    }
}
