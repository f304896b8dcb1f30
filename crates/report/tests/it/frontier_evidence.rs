//! Tests of frontiers of simulated methods whose truth is known: significant differences, coverage of intervals, and
//! recommendations.

mod unranked;

use std::collections::BTreeMap;

use polymath_report::Diverged;
use polymath_report::frontier::{Frontier, Outcome};

use crate::support::simulated::{Random, Truth, settings, share};

/// Checks that equal methods are rarely dominated, and that a method that is far better in gain and forgetting
/// dominates all others.
#[test]
fn equal_methods_are_not_ranked() {
    let equal = Truth {
        methods: vec![(0.5, 0.02); 5],
        ..Truth::default()
    };
    let mut random = Random(1);
    let beaten = share(40, |_| {
        let frontier = equal.frontier(&mut random);
        frontier
            .methods
            .iter()
            .any(|method| method.beaten_by.is_some())
    });
    assert!(beaten <= 0.05, "{beaten}");
    let mut unequal = equal;
    unequal.methods[2] = (0.6, 0.001);
    let frontier = unequal.frontier(&mut Random(3));
    for method in &frontier.methods {
        let expected = (method.name != "m02").then(|| "m02".to_owned());
        assert_eq!(method.beaten_by, expected, "{}", method.name);
        assert_eq!(method.on_the_frontier, expected.is_none());
    }
    let best = &frontier.methods[0];
    assert_eq!(
        (best.name.as_str(), best.frontier_share),
        ("m02", Some(1.0))
    );
    // The reference is the first by name; the true difference is within the interval.
    let apart = best.against_reference.unwrap();
    for (found, truth) in [(apart.gain, 0.1), (apart.mean_forgetting, -0.019)] {
        let [low, high] = found.interval.unwrap();
        assert!(low <= truth && truth <= high, "{found:?}");
    }
    assert!(
        frontier
            .methods
            .iter()
            .any(|method| method.name == "m00" && method.against_reference.is_none())
    );
}

/// Checks that a method dominates only if it is better in both: one that only gains more, or only forgets less,
/// dominates no other, and all three stay on the frontier.
#[test]
fn one_better_figure_does_not_dominate() {
    for better in [(0.6, 0.02), (0.5, 0.001)] {
        let truth = Truth {
            methods: vec![(0.5, 0.02), better, (0.5, 0.02)],
            ..Truth::default()
        };
        for seed in 3..8 {
            let frontier = truth.frontier(&mut Random(seed));
            for method in &frontier.methods {
                assert_eq!(method.beaten_by, None, "{} {better:?}", method.name);
                assert!(method.on_the_frontier);
            }
        }
    }
}

/// Checks that intervals cover the results on new groups and new seeds. Intervals over seeds or groups alone would
/// not.
#[test]
fn intervals_cover_new_groups_and_seeds() {
    let truth = Truth {
        methods: vec![(0.5, 0.02)],
        spread: [0.003, 0.012, 0.003],
        ..Truth::default()
    };
    for share in coverage(&truth, 200) {
        assert!((0.92..=1.0).contains(&share), "{share}");
    }
}

/// Checks that a method just beyond the limit is rarely recommended, although half of all samples show it within. A
/// method far within the limit is always recommended, and a run with a new seed confirms it.
#[test]
fn recommendations_are_within_the_limit() {
    let truth = Truth {
        // The method with the largest gain is just beyond the limit.
        methods: vec![(0.4, 0.02), (0.8, 0.0505)],
        ..Truth::default()
    };
    let mut random = Random(9);
    let trials = 80;
    let mut found = BTreeMap::new();
    for _ in 0..trials {
        let frontier = truth.frontier(&mut random);
        let name = frontier
            .recommended
            .map_or("none".to_owned(), |found| found.name);
        *found.entry(name).or_insert(0) += 1;
    }
    assert!(found.get("m01").copied().unwrap_or(0) <= 4, "{found:?}");
    assert!(found["m00"] >= trials - 4, "{found:?}");

    // With 24 groups of unequal sizes, a run with a new seed can't show that any increase is within the limit, and
    // says why.
    let (base, mut runs) = truth.draw(&mut Random(2));
    let fresh = runs.remove(2);
    runs.retain(|run| run.candidate.seed < 3);
    let frontier = Frontier::new(settings(), &base, &runs).unwrap();
    let few = frontier.confirm(&base, &fresh).unwrap();
    let confirmation = few.recommended.as_ref().unwrap().confirmation.clone();
    assert_eq!(confirmation.unwrap().outcome, Outcome::Undecided);
    let said = few.markdown();
    assert!(
        said.contains("does not show that retained-") && said.contains("of which that takes 15"),
        "{said}"
    );

    let larger = Truth {
        groups: 300,
        ..truth
    };
    let (base, mut runs) = larger.draw(&mut Random(2));
    let fresh = runs.remove(2);
    runs.retain(|run| run.candidate.seed < 3);
    let frontier = Frontier::new(settings(), &base, &runs).unwrap();
    assert!(
        frontier
            .markdown()
            .contains("Not confirmed on a fresh seed")
    );
    let frontier = frontier.confirm(&base, &fresh).unwrap();
    let confirmation = frontier
        .recommended
        .as_ref()
        .unwrap()
        .confirmation
        .clone()
        .unwrap();
    assert_eq!(
        (confirmation.seed, confirmation.outcome),
        (3, Outcome::Confirmed)
    );
    assert!(
        frontier
            .markdown()
            .contains("Confirmed by a run of the fresh seed 3")
    );
}

/// Checks that the worst domain is chosen on the dev split: among equal domains, its value on the test split is
/// unbiased, unlike the largest change of each run.
#[test]
fn worst_domain_is_unbiased() {
    let truth = Truth {
        methods: vec![(0.5, 0.02)],
        retained: 7,
        // Variation of documents only: a run has the same effect on a domain on both splits.
        spread: [0.0005, 0.01, 0.004],
        ..Truth::default()
    };
    let mut random = Random(8);
    let trials = 100;
    let (mut worst, mut of_maxima) = (0.0, 0.0);
    for _ in 0..trials {
        let frontier = truth.frontier(&mut random);
        worst += frontier.methods[0].worst.rise.value / f64::from(trials);
        let maxima = frontier
            .runs
            .iter()
            .map(polymath_report::frontier::RunFigures::worst_forgetting);
        of_maxima += maxima.sum::<f64>() / frontier.runs.len() as f64 / f64::from(trials);
    }
    assert!((worst - 0.02).abs() < 0.0015, "{worst}");
    assert!(of_maxima > 0.023, "{of_maxima}");
}

/// Prints rows of the table of `scripts/check/coverage.sh`: coverage of the intervals of a method's gain and
/// forgetting, how often any of eleven equal methods is dominated or differs significantly in one of them, and how
/// often a method beyond the limit is recommended.
#[test]
#[ignore = "takes many minutes: see scripts/check/coverage.sh"]
fn coverage_table() {
    println!("| frontier: seeds | groups | skewed | gain covered | mean forgetting covered |");
    println!("|--:|--:|---|--:|--:|");
    for (seeds, groups) in [
        (2, 5),
        (3, 5),
        (2, 20),
        (3, 20),
        (5, 20),
        (3, 100),
        (5, 400),
    ] {
        for skewed in [false, true] {
            let truth = Truth {
                methods: vec![(0.5, 0.02)],
                seeds,
                groups,
                skewed,
                ..Truth::default()
            };
            let [gain, forgetting] = coverage(&truth, 400);
            println!("| {seeds} | {groups} | {skewed} | {gain:.3} | {forgetting:.3} |");
        }
    }
    println!(
        "\n| eleven equal methods: seeds | groups | skewed | any dominated | any significant difference |"
    );
    println!("|--:|--:|---|--:|--:|");
    for (seeds, groups) in [(2, 20), (3, 20), (3, 100), (5, 20)] {
        for skewed in [false, true] {
            let truth = Truth {
                methods: vec![(0.5, 0.02); 11],
                seeds,
                groups,
                skewed,
                ..Truth::default()
            };
            let [beaten, apart] = false_differences(&truth, 200);
            println!("| {seeds} | {groups} | {skewed} | {beaten:.3} | {apart:.3} |");
        }
    }
    println!("\n| a method at the limit is recommended: seeds | groups | skewed | share |");
    println!("|--:|--:|---|--:|");
    for (seeds, groups) in [(2, 20), (3, 20), (3, 100)] {
        for skewed in [false, true] {
            let truth = Truth {
                methods: vec![(0.6, 0.05); 5],
                seeds,
                groups,
                skewed,
                ..Truth::default()
            };
            let mut random = Random(31);
            let found = share(200, |_| truth.frontier(&mut random).recommended.is_some());
            println!("| {seeds} | {groups} | {skewed} | {found:.3} |");
        }
    }
}

/// Returns the shares of frontiers whose intervals of gain and mean forgetting cover the truth of the first method.
fn coverage(truth: &Truth, trials: usize) -> [f64; 2] {
    let mut random = Random(11);
    let (gain, rise) = truth.methods[0];
    let mut covered = [0usize; 2];
    for _ in 0..trials {
        let frontier = truth.frontier(&mut random);
        let method = &frontier.methods[0];
        let figures = [(method.gain, gain), (method.mean_forgetting, rise)];
        for (count, (figure, truth)) in covered.iter_mut().zip(figures) {
            let [low, high] = figure.interval.unwrap();
            *count += usize::from(low <= truth && truth <= high);
        }
    }
    covered.map(|count| count as f64 / trials as f64)
}

/// Returns the share of frontiers of equal methods in which any is dominated, and the share in which any differs
/// significantly from the reference in gain or forgetting.
fn false_differences(truth: &Truth, trials: usize) -> [f64; 2] {
    let mut random = Random(12);
    let mut found = [0usize; 2];
    for _ in 0..trials {
        let frontier = truth.frontier(&mut random);
        let excludes =
            |ends: Option<[f64; 2]>| ends.is_some_and(|[low, high]| low > 0.0 || high < 0.0);
        found[0] += usize::from(
            frontier
                .methods
                .iter()
                .any(|method| method.beaten_by.is_some()),
        );
        found[1] += usize::from(frontier.methods.iter().any(|method| {
            let apart = method.against_reference;
            apart.is_some_and(|apart| {
                excludes(apart.gain.interval) || excludes(apart.mean_forgetting.interval)
            })
        }));
    }
    found.map(|count| count as f64 / trials as f64)
}
