//! Tests of the mean, the worst and the interval of the mean over three different retained domains, against values
//! computed by hand.

use std::collections::BTreeMap;
use std::f64::consts::LN_2;

use polymath_eval::{DocumentScore, DomainScores, Endpoints, ScoresByDomain, SplitScores};
use polymath_report::frontier::{Candidate, RunFigures, ScoredRun};
use polymath_report::reset::{BeforeAfter, Block, GainAndForgetting, Reset, ResetSetting, Step};
use polymath_report::{ForgettingReport, ModelScores, ReportSettings};

/// Increases in bits per byte. The niche gains, one retained domain gains too, and the worst one is neither first nor
/// last.
const RISES: [(&str, f64); 4] = [
    ("atoms", 0.05),
    ("birds", 0.31),
    ("codes", -0.12),
    ("dance", -0.5),
];
const NICHE: &str = "dance";
const WORST: &str = "birds";
const MEAN: f64 = (0.05 + 0.31 - 0.12) / 3.0;

/// Returns documents of unequal sizes that increase by `rise` bits per byte in total, each by a different amount.
fn documents(rise: f64) -> DomainScores {
    let bytes = |at: u64| 200 + 150 * (at % 5);
    // Zero on average, weighted by bytes.
    let uneven = |at: u64| match at % 2 {
        0 => 0.08 / bytes(at) as f64,
        _ => -0.08 / bytes(at) as f64,
    };
    let document = |at: u64| {
        let bits = 1.5 + rise + if rise == 0.0 { 0.0 } else { 100.0 * uneven(at) };
        DocumentScore {
            nats: bits * bytes(at) as f64 * LN_2,
            tokens: bytes(at) / 4,
            bytes: bytes(at),
        }
    };
    DomainScores {
        documents: (0..20).map(document).collect(),
        ..DomainScores::default()
    }
}

fn scores(factor: f64) -> ScoresByDomain {
    let domain = |(name, rise): (&str, f64)| (name.to_owned(), documents(factor * rise));
    RISES.map(domain).into()
}

fn model(path: &str, niche: &str, factor: f64) -> ModelScores {
    ModelScores {
        path: path.into(),
        niche: (!niche.is_empty()).then(|| niche.into()),
        domains: scores(factor),
        ..ModelScores::default()
    }
}

/// Returns the interval of the mean: the squared distances of independent interval ends add up, and their root is
/// divided by 3.
fn interval_of_the_mean(figures: &[(f64, [f64; 2])]) -> [f64; 2] {
    let distance = |end: usize| {
        let squares = figures
            .iter()
            .map(|(value, ends)| (ends[end] - value).powi(2));
        squares.sum::<f64>().sqrt() / 3.0
    };
    [MEAN - distance(0), MEAN + distance(1)]
}

fn assert_near(found: f64, expected: f64) {
    assert!(
        (found - expected).abs() < 1e-9,
        "{found} and not {expected}"
    );
}

#[test]
fn reports_name_the_worst_of_three_and_average_them() {
    let tuned = [model("tuned", NICHE, 1.0)];
    let report = ForgettingReport::new(&model("base", "", 0.0), &tuned, ReportSettings::default());
    let report = report.unwrap();
    let run = &report.runs[0];
    for (name, rise) in RISES {
        let domain = run
            .domains
            .iter()
            .find(|domain| domain.name == name)
            .unwrap();
        assert_near(domain.base_bits_per_byte.unwrap(), 1.5);
        assert_near(domain.change.unwrap(), rise);
    }
    let worst = run.summary.worst_forgetting.as_ref().unwrap();
    assert_eq!(worst.domain, WORST);
    assert_near(worst.change, 0.31);
    assert_near(run.summary.niche_gain.unwrap().value, 0.5);
    let mean = run.summary.mean_forgetting.unwrap();
    assert_near(mean.value, MEAN);
    let retained: Vec<(f64, [f64; 2])> = run
        .retained()
        .map(|domain| (domain.change.unwrap(), domain.interval.unwrap()))
        .collect();
    assert_eq!(retained.len(), 3);
    let expected = interval_of_the_mean(&retained);
    let [low_of_mean, high_of_mean] = mean.interval.unwrap();
    for (end, expected) in [low_of_mean, high_of_mean].iter().zip(expected) {
        assert_near(*end, expected);
    }
    // The interval of the mean differs from each domain's own interval.
    for (value, [low, high]) in retained {
        assert!(
            (high_of_mean - low_of_mean - (high - low)).abs() > 1e-3,
            "{value}"
        );
    }
}

/// Checks that the runs of a frontier have the same mean and worst domain, with other scores on the dev split than on
/// the test split.
#[test]
fn frontiers_take_the_worst_and_the_mean_of_three() {
    let both = |dev: f64, test: f64| SplitScores {
        dev: scores(dev),
        test: scores(test),
    };
    let candidate = Candidate {
        method: "full".into(),
        share: None,
        seed: 1,
        tokens: 1,
        seconds: 1.0,
    };
    let run = ScoredRun {
        candidate,
        scored: both(0.5, 1.0),
    };
    let figures = RunFigures::new(&run, NICHE, &both(0.0, 0.0)).unwrap();
    assert_near(figures.gain.value, 0.5);
    assert_near(figures.worst_forgetting(), 0.31);
    assert_near(figures.dev_worst, 0.155);
    assert_near(figures.dev_gain, 0.25);
    assert_near(figures.mean_rise.value, MEAN);
    let rises: BTreeMap<&str, f64> = figures
        .rises
        .iter()
        .map(|(name, rise)| (name.as_str(), rise.value))
        .collect();
    assert_eq!(rises.len(), 3);
    for (name, rise) in &RISES[..3] {
        assert_near(rises[name], *rise);
    }
    let rises = figures.rises.values();
    let rises: Vec<(f64, [f64; 2])> = rises
        .map(|rise| (rise.value, rise.interval.unwrap()))
        .collect();
    let ends = figures.mean_rise.interval.unwrap();
    for (end, expected) in ends.iter().zip(interval_of_the_mean(&rises)) {
        assert_near(*end, expected);
    }
}

/// Checks a block that causes the whole change: resetting it recovers the mean of three increases and loses the
/// niche's gain. Relative to the base, the tuned model has that gain and that mean forgetting.
#[test]
fn blocks_and_steps_average_three() {
    let (base, tuned) = (scores(0.0), scores(1.0));
    let block = Block::new(
        "layer 001",
        NICHE,
        BeforeAfter {
            before: &tuned,
            after: &base,
        },
    )
    .unwrap();
    assert_near(block.regained, MEAN);
    assert_near(block.lost, 0.5);
    assert_near(block.rate(), MEAN / 0.5);
    for (name, rise) in RISES {
        assert_near(block.changes[name].value, -rise);
    }
    // Half of the path has half of gain and forgetting: it is the first within a limit of three quarters of the mean.
    let steps = [1.0, 0.5, 0.0].map(|share| {
        let scores = BeforeAfter {
            before: &base,
            after: &scores(share),
        };
        GainAndForgetting::new(NICHE, scores)
    });
    for (changes, share) in steps.iter().zip([1.0, 0.5, 0.0]) {
        assert_near(changes.gain, 0.5 * share);
        assert_near(changes.forgetting, MEAN * share);
        let retained = RISES.iter().filter(|(name, _)| *name != NICHE);
        for (name, rise) in retained {
            assert_near(changes.increases[*name], rise * share);
        }
        assert_eq!(changes.increases.len(), RISES.len() - 1);
    }
    let steps = (0..).zip(steps).map(|(reset, changes)| Step {
        reset,
        dev: changes.clone(),
        test: changes,
    });
    let setting = ResetSetting {
        models: Endpoints {
            base: "base".as_ref(),
            tuned: "tuned".as_ref(),
        },
        niche: NICHE,
        limit: 0.75 * MEAN,
    };
    let blocks = vec![block.clone(), block];
    let found = Reset::new(setting, blocks, steps.collect());
    assert_eq!((found.chosen, found.within_limit), (1, true));
}
