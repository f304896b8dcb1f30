//! Tests of whole reports and frontiers against numpy and scipy. `scripts/check/statistics_reference.py` made the
//! expected values.

use polymath_eval::statistics::Figure;
use polymath_eval::{DocumentScore, DomainScores, ScoresByDomain, SplitScores};
use polymath_report::frontier::{Candidate, Frontier, FrontierSettings, ScoredRun};
use polymath_report::{ForgettingReport, ModelScores, ReportSettings};
use serde_json::Value;

use crate::support::values::{fixture, near, number, numbers, whole};

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

/// Returns the base, which has 0 nats everywhere, and the runs of the fixture's report, restricted to the domains for
/// which `takes` is true.
fn models(case: &Value, takes: &dyn Fn(&str) -> bool) -> (ModelScores, Vec<ModelScores>) {
    let domains = case["domains"].as_object().unwrap();
    let model = |path: &str, niche: &str, run: Option<&Value>| {
        let of_domain = |(name, sizes): (&String, &Value)| {
            let sizes = whole(sizes);
            let nats = run.map_or(vec![0.0; sizes.len()], |run| {
                numbers(&run["domains"][name]["nats"])
            });
            (
                name.clone(),
                scores(nats.into_iter(), &sizes, (0..sizes.len() as u64).collect()),
            )
        };
        ModelScores {
            path: path.into(),
            niche: (!niche.is_empty()).then(|| niche.into()),
            domains: domains
                .iter()
                .filter(|(name, _)| takes(name))
                .map(of_domain)
                .collect(),
            ..ModelScores::default()
        }
    };
    let runs = case["runs"].as_array().unwrap().iter().enumerate();
    let runs = runs.map(|(at, run)| model(&format!("run-{at}"), "niche", Some(run)));
    (model("base", "", None), runs.collect())
}

/// Checks a report of two runs: intervals, p-values, Holm's correction over both runs, verdicts, the mean over
/// domains and the bound on the worst. A domain of four groups has no interval, is not tested, and leaves the mean
/// without an interval.
#[test]
fn reports_match_numpy() {
    let fixture = fixture();
    let case = &fixture["report"];
    let report = |takes: &dyn Fn(&str) -> bool| {
        let (base, runs) = models(case, takes);
        let settings = ReportSettings {
            seed: case["seed"].as_u64().unwrap(),
            tolerance: number(&case["tolerance"]),
            ..ReportSettings::default()
        };
        ForgettingReport::new(&base, &runs, settings).unwrap()
    };
    let all = report(&|_| true);
    assert_eq!(
        all.settings.comparisons as u64,
        case["tests"].as_u64().unwrap()
    );
    for (run, expected) in all.runs.iter().zip(case["runs"].as_array().unwrap()) {
        assert_eq!(run.summary.mean_forgetting.unwrap().interval, None);
        assert_eq!(run.summary.worst_forgetting.as_ref().unwrap().bound, None);
        for domain in &run.domains {
            let (name, expected) = (&domain.name, &expected["domains"][&domain.name]);
            near(domain.change.unwrap(), number(&expected["value"]), name);
            if domain.groups < 5 {
                assert_eq!((domain.interval, domain.p_value), (None, None), "{name}");
                assert_eq!(domain.verdict.word(), "undecided", "{name}");
                continue;
            }
            let ends = domain
                .interval
                .unwrap()
                .into_iter()
                .zip(numbers(&expected["interval"]));
            ends.for_each(|(end, expected)| near(end, expected, name));
            // The reference interpolates differently between two resamples.
            for (found, key) in [
                (domain.p_value, "p_value"),
                (domain.adjusted_p_value, "adjusted_p_value"),
            ] {
                let (found, expected) = (found.unwrap(), number(&expected[key]));
                assert!(
                    (found - expected).abs() < 0.004 + 0.03 * expected,
                    "{name} {key}: {found}, by numpy {expected}"
                );
            }
            assert_eq!(domain.verdict.word(), expected["verdict"], "{name}");
        }
    }
    let without = report(&|name| name != "poems");
    for (run, expected) in without.runs.iter().zip(case["runs"].as_array().unwrap()) {
        let mean = run.summary.mean_forgetting.unwrap();
        let [low, high] = mean.interval.unwrap();
        let wanted = numbers(&expected["mean_of_old_but_poems"]);
        for (found, expected) in [mean.value, low, high].into_iter().zip(wanted) {
            near(found, expected, "mean");
        }
        let bound = run.summary.worst_forgetting.as_ref().unwrap().bound;
        near(
            bound.unwrap(),
            number(&expected["bound_of_old_but_poems"]),
            "bound on the worst",
        );
    }
}

/// Checks three methods with three seeds: intervals over groups and seeds, the largest statistic of all pairs,
/// differences from the reference, the hypervolume, and the recommendation with its bound.
#[test]
fn frontiers_match_numpy() {
    let fixture = fixture();
    let case = &fixture["frontier"];
    let seeds = case["seeds"].as_u64().unwrap() as usize;
    let split = |name: &str, run: Option<usize>| -> ScoresByDomain {
        let domains = case["splits"][name].as_object().unwrap();
        domains
            .iter()
            .map(|(name, found)| {
                let sizes = whole(&found["sizes"]);
                let nats = run.map_or(vec![0.0; sizes.len()], |run| numbers(&found["runs"][run]));
                (
                    name.clone(),
                    scores(nats.into_iter(), &sizes, (0..sizes.len() as u64).collect()),
                )
            })
            .collect()
    };
    let scored = |run| SplitScores {
        dev: split("development", run),
        test: split("test", run),
    };
    let methods = case["methods"].as_array().unwrap();
    let runs: Vec<ScoredRun> = (0..methods.len() * seeds)
        .map(|run| ScoredRun {
            candidate: Candidate {
                method: format!("m{}", run / seeds),
                share: None,
                seed: (run % seeds) as u64,
                tokens: 1,
                seconds: 1.0,
            },
            scored: scored(Some(run)),
        })
        .collect();
    let settings = FrontierSettings {
        niche: "niche".into(),
        limit: number(&case["limit"]),
        reference: Some("m0".into()),
        diverged: Vec::new(),
    };
    let found = Frontier::new(settings, &scored(None), &runs).unwrap();
    let same = |found: Figure, expected: &Value, what: &str| {
        let [low, high] = found.interval.unwrap();
        for (found, expected) in [found.value, low, high].into_iter().zip(numbers(expected)) {
            near(found, expected, what);
        }
    };
    near(
        found.critical.unwrap(),
        number(&case["critical"]),
        "critical",
    );
    same(
        found.hypervolume.trained,
        &case["hypervolume"],
        "hypervolume",
    );
    for (number, expected) in methods.iter().enumerate() {
        let method = found
            .methods
            .iter()
            .find(|method| method.name == format!("m{number}"))
            .unwrap();
        same(method.gain, &expected["gain"], "gain");
        same(
            method.mean_forgetting,
            &expected["mean_forgetting"],
            "mean forgetting",
        );
        let apart = &expected["against_first"];
        assert_eq!(method.against_reference.is_some(), apart.is_object());
        if let Some(difference) = method.against_reference {
            same(difference.gain, &apart["gain"], "difference of gains");
            same(
                difference.mean_forgetting,
                &apart["mean_forgetting"],
                "difference of forgetting",
            );
        }
    }
    let recommended = found.recommended.unwrap();
    assert_eq!(recommended.name, format!("m{}", case["recommended"]));
    near(
        recommended.upper_bound,
        number(&case["upper_bound"]),
        "bound of the recommendation",
    );
}
