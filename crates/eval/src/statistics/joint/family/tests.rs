//! Tests of comparisons that are tested together.

use super::*;
use crate::DocumentScore;
use crate::statistics::Random;

fn scores(nats: Vec<f64>) -> DomainScores {
    let document = |nats| DocumentScore {
        nats,
        tokens: 100,
        bytes: 1000,
    };
    DomainScores {
        documents: nats.into_iter().map(document).collect(),
        ..DomainScores::default()
    }
}

/// Creates models that have the same expected change. Their changes have a common part, and an independent part
/// with scale `own`.
fn models(count: usize, documents: usize, own: f64, random: &mut Random) -> Vec<DomainScores> {
    let common: Vec<f64> = (0..documents).map(|_| 50.0 * random.normal()).collect();
    let model = |_| {
        let nats = common
            .iter()
            .map(|nats| 1000.0 + nats + own * random.normal());
        scores(nats.collect())
    };
    (0..count).map(model).collect()
}

fn compared<'a>(domain: &'a str, models: &'a [DomainScores]) -> Compared<'a> {
    Compared {
        domain,
        before: &models[0],
        after: &models[1],
    }
}

fn pairs_of(models: &[DomainScores]) -> Vec<Vec<Compared<'_>>> {
    let pairs = (0..models.len()).flat_map(|a| (0..a).map(move |b| (a, b)));
    pairs
        .map(|(a, b)| {
            vec![Compared {
                domain: "prose",
                before: &models[b],
                after: &models[a],
            }]
        })
        .collect()
}

/// Checks that, among seven equal models, some pair is significant in at most 6 % of cases and in more than 2 %,
/// so that the correction is less conservative than Bonferroni's.
#[test]
fn equal_models_are_rarely_significant() {
    let mut random = Random(5);
    let (mut wrong, mut left_out, trials) = (0, 0, 400);
    for seed in 0..trials {
        let models = models(7, 40, 20.0, &mut random);
        let family = Family::of_means(&pairs_of(&models), 300, seed).unwrap();
        let p_values = family.adjusted_p_values();
        wrong += usize::from(p_values.iter().any(|p| *p < 0.05));
        let holds = |[low, high]: &[f64; 2]| *low <= 0.0 && 0.0 <= *high;
        left_out += usize::from(!family.intervals(0.05).iter().all(holds));
    }
    for count in [wrong, left_out] {
        let share = count as f64 / trials as f64;
        assert!((0.02..=0.07).contains(&share), "{share}");
    }
}

/// Checks that pairs with a better model are significant and pairs of equal models are not.
#[test]
fn better_models_are_significant() {
    let mut random = Random(6);
    let mut models = models(4, 60, 10.0, &mut random);
    for document in &mut models[3].documents {
        document.nats += 30.0;
    }
    let family = Family::of_means(&pairs_of(&models), 1000, 1).unwrap();
    let p_values = family.adjusted_p_values();
    // The pairs (1, 0), (2, 0), (2, 1) come before the pairs with the fourth model.
    assert!(p_values[..3].iter().all(|p| *p > 0.05), "{p_values:?}");
    assert!(p_values[3..].iter().all(|p| *p < 0.01), "{p_values:?}");
    let bits = 30.0 / 1000.0 / LN_2;
    for [low, high] in &family.intervals(0.05)[3..] {
        assert!(*low < bits && bits < *high && *low > 0.0, "{low} {high}");
    }
    let bounds = family.upper_bounds(0.05);
    let intervals = family.intervals(0.05);
    assert!(
        bounds
            .iter()
            .zip(&intervals)
            .all(|(bound, [_, high])| bound < high)
    );
}

/// Checks that the mean weights domains equally, and that a single comparison has no correction.
#[test]
fn means_weight_domains_equally() {
    let mut random = Random(7);
    let (few, many) = (
        models(2, 10, 5.0, &mut random),
        models(2, 90, 5.0, &mut random),
    );
    let both = vec![compared("few", &few), compared("many", &many)];
    let family = Family::of_means(&[both], 200, 1).unwrap();
    let change = |models: &[DomainScores]| models[1].bits_per_byte() - models[0].bits_per_byte();
    let expected = f64::midpoint(change(&few), change(&many));
    assert!((family.comparisons()[0].value - expected).abs() < 1e-12);
    assert!(
        Family::new(Vec::new())
            .unwrap()
            .adjusted_p_values()
            .is_empty()
    );
}

/// Checks that too few groups, or different groups in two comparisons, are refused.
#[test]
fn mismatched_groups_are_refused() {
    let mut random = Random(8);
    let (few, many) = (
        models(2, 4, 5.0, &mut random),
        models(2, 9, 5.0, &mut random),
    );
    let refused = |comparisons: &[Vec<Compared>]| {
        let error = Family::of_means(comparisons, 10, 1).unwrap_err();
        error.to_string()
    };
    assert!(refused(&pairs_of(&few)).contains("at least 5"));
    let both = [pairs_of(&few), pairs_of(&many)].concat();
    assert!(refused(&both).contains("different groups"));
}

/// Checks comparisons without an error: an unchanged one is never significant and leaves the others as they are, a
/// changed one has the smallest p-value.
#[test]
fn comparisons_without_an_error_are_decided() {
    let still = |value: f64| Comparison {
        value,
        error: 0.0,
        deviations: vec![0.0; 19],
    };
    let clear = Comparison {
        value: 50.0,
        error: 0.5,
        deviations: (1..=19).map(f64::from).collect(),
    };
    let family = Family::new(vec![still(0.0), clear.clone()]).unwrap();
    assert_eq!(family.adjusted_p_values(), [1.0, 0.05]);
    let family = Family::new(vec![clear, still(1.0)]).unwrap();
    assert_eq!(family.adjusted_p_values(), [0.05, 0.05]);
}

/// Checks that five groups suffice for a comparison and four do not.
#[test]
fn five_groups_suffice() {
    let documents = |count: usize| {
        let nats = |at: usize| 1000.0 + (at * at % 7) as f64;
        [
            scores(vec![1000.0; count]),
            scores((0..count).map(nats).collect()),
        ]
    };
    let of = |count: usize| {
        let models = documents(count);
        Family::of_means(&pairs_of(&models), 10, 1).is_ok()
    };
    assert!(of(5) && !of(4));
}
