//! Tests of the choice of the best checkpoint: by the mean over the domains in pretraining, and by the niche in
//! fine-tuning.

use std::path::Path;

use predicates::str::contains;
use serde_json::Value;

use crate::support::fixture::{finetune, polymath, prepare, prepare_data, records};

/// Returns the step and the scores of each evaluation of a run.
fn evaluations(run: &Path) -> Vec<(u64, Value)> {
    let lines = records(run).into_iter();
    let scores = lines.filter_map(|line| {
        let scores = line.get("heldout_bits_per_byte")?.clone();
        Some((line["step"].as_u64().unwrap(), scores))
    });
    scores.filter(|(step, _)| *step > 0).collect()
}

/// Returns the step whose mean score over the given domains is lowest.
fn lowest(evaluations: &[(u64, Value)], domains: &[&str]) -> u64 {
    let mean = |scores: &Value| {
        let of = |name: &&str| scores[*name].as_f64().unwrap();
        domains.iter().map(of).sum::<f64>() / domains.len() as f64
    };
    let best = |a: &&(u64, Value), b: &&(u64, Value)| mean(&a.1).total_cmp(&mean(&b.1));
    evaluations.iter().min_by(best).unwrap().0
}

fn best(run: &Path) -> u64 {
    let link = std::fs::read_link(run.join("best")).unwrap();
    let name = link.to_str().unwrap().to_owned();
    name.strip_prefix("step-").unwrap().parse().unwrap()
}

#[test]
fn the_best_checkpoint_is_chosen_by_its_domains() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    prepare(at);
    // Settings with which the scores of the domains do not all fall together.
    let unsteady = [
        "training.learning_rate=0.05",
        "training.schedule=constant",
        "evaluation.every=1",
    ];
    let mut told_apart = [0; 2];
    for number in 1..=3 {
        let seed = format!("seed={number}");
        let run = format!("run=runs/base-{number}");
        let mut command = polymath(at);
        command
            .args(["pretrain", "pretrain.toml", &run, &seed])
            .args(unsteady);
        let said = command.assert().success();
        said.stdout(contains(
            " bits per byte of the mean of 2 domains: runs/base",
        ));
        let run = at.join(format!("runs/base-{number}"));
        let found = evaluations(&run);
        assert_eq!(found.len(), 30);
        let expected = lowest(&found, &["counting", "letters"]);
        assert_eq!(best(&run), expected, "{seed}");
        let others = [
            lowest(&found, &["counting", "letters", "asked"]),
            lowest(&found, &["counting"]),
            lowest(&found, &["letters"]),
        ];
        told_apart[0] += others.iter().filter(|other| **other != expected).count();

        let tuned = format!("tuned-{number}");
        finetune(at, &tuned, &unsteady)
            .arg(&seed)
            .assert()
            .success()
            .stdout(contains(" bits per byte of asked: runs/tuned"));
        let run = at.join("runs").join(tuned);
        let found = evaluations(&run);
        let expected = lowest(&found, &["asked"]);
        assert_eq!(best(&run), expected, "{seed}");
        let all = lowest(&found, &["counting", "letters", "asked"]);
        told_apart[1] += usize::from(all != expected);
    }
    assert!(
        told_apart[0] > 2 && told_apart[1] > 0,
        "{told_apart:?} of 9 and 3"
    );
}

/// Scores the domains of a checkpoint on one split of the held-out documents, or on all of them, with the same
/// windows as the run's evaluations.
fn scored(at: &Path, checkpoint: &Path, split: Option<&str>) -> Vec<(String, f64)> {
    let mut command = polymath(at);
    command.arg("evaluate").arg(checkpoint);
    command.args(["--dataset", "data", "--context", "48", "--json"]);
    if let Some(split) = split {
        command.args(["--split", split]);
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let domains = found["domains"].as_object().unwrap().iter();
    domains
        .map(|(name, domain)| (name.clone(), domain["bits_per_byte"].as_f64().unwrap()))
        .collect()
}

/// Checks that the best checkpoint is chosen on the dev split alone and recorded, for a base and for a model tuned
/// from it. The test split has no influence.
#[test]
fn the_best_checkpoint_is_chosen_on_the_dev_split() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    prepare_data(at);
    let all = "evaluation.max_tokens=1000000";
    polymath(at)
        .args(["pretrain", "pretrain.toml", all])
        .assert()
        .success();
    finetune(at, "tuned", &[all]).assert().success();
    for run in ["base", "tuned"] {
        let run = at.join("runs").join(run);
        let (_, last) = evaluations(&run).pop().unwrap();
        let checkpoint = run.join("latest");
        let near = |scores: &[(String, f64)]| {
            let apart =
                |(name, score): &(String, f64)| (last[name].as_f64().unwrap() - score).abs();
            scores.iter().map(apart).fold(0.0, f64::max) < 1e-4
        };
        assert!(near(&scored(at, &checkpoint, Some("dev"))), "{last}");
        assert!(!near(&scored(at, &checkpoint, Some("test"))), "{last}");
        assert!(!near(&scored(at, &checkpoint, None)), "{last}");
        let state = std::fs::read_to_string(checkpoint.join("state.json")).unwrap();
        let state: Value = serde_json::from_str(&state).unwrap();
        assert_eq!(state["chosen_on"], "dev", "{state}");
    }
    let lineage = std::fs::read_to_string(at.join("runs/tuned/best/base.toml")).unwrap();
    assert!(lineage.contains("chosen_on = \"dev\""), "{lineage}");
}
