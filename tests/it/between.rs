//! Tests of models between a base and a tuned checkpoint, through the binary: interpolation and reset layers.

use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;
use serde_json::Value;

use crate::support::fixture::{finetune, polymath, prepare};

/// Names of the splits in results and arguments.
const SPLITS: [&str; 2] = ["dev", "test"];

/// Scores a checkpoint on one split of the dataset.
fn scores(at: &std::path::Path, checkpoint: &str, split: &str) -> Value {
    let output = polymath(at)
        .args([
            "evaluate",
            checkpoint,
            "--dataset",
            "data",
            "--split",
            split,
            "--json",
        ])
        .output()
        .unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Checks that `interpolate` chooses the share on one split, reports both splits, and writes a model whose scores
/// match the reported curve.
#[test]
fn interpolation_writes_the_chosen_model() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    prepare(at);
    finetune(at, "full", &[]).assert().success();
    let interpolate = ["interpolate", "runs/base", "runs/full", "-o", "mixed"];
    polymath(at)
        .args(interpolate)
        .args(["--alphas", "0.25,0.5", "--limit", "0.3"])
        .assert()
        .success()
        .stdout(contains("Take ").and(contains("\n  0.25 ")));
    let curve = std::fs::read_to_string(at.join("mixed/interpolation.json")).unwrap();
    let curve: Value = serde_json::from_str(&curve).unwrap();
    let points = curve["points"].as_array().unwrap();
    assert_eq!(points.len(), 4);
    assert_eq!(points[0]["mean_increase"], 0.0);
    let chosen = &points[curve["chosen"].as_u64().unwrap() as usize];
    assert!(chosen["mean_increase"].as_f64().unwrap() <= 0.3);
    // Scoring each split again gives the same numbers.
    for split in SPLITS {
        let scores = scores(at, "mixed", split);
        for domain in ["asked", "counting", "letters"] {
            let found = scores["domains"][domain]["bits_per_byte"].as_f64().unwrap();
            let expected = chosen[split][domain].as_f64().unwrap();
            assert!(
                (found - expected).abs() < 1e-6,
                "{split} {domain}: {found} {expected}"
            );
        }
    }
    // `report` recognizes the niche without being told, and judges on the split that chose nothing.
    polymath(at)
        .args(["report", "runs/base", "mixed", "-o", "report"])
        .assert()
        .success()
        .stdout(contains("interpolated at"));
    let lineage = std::fs::read_to_string(at.join("mixed/base.toml")).unwrap();
    assert!(lineage.contains("chosen_on = \"dev\""), "{lineage}");

    let refused = |arguments: &[&str], sentence: &str| {
        let mut command = polymath(at);
        command
            .args(arguments)
            .assert()
            .code(2)
            .stderr(contains(sentence));
    };
    refused(
        &["interpolate", "runs/base", "runs/full", "-o", "data"],
        "choose another `--output`",
    );
    refused(&[&interpolate[..], &["--alphas", "2"]].concat(), "`2`");
    refused(&[&interpolate[..], &["--limit=-1"]].concat(), "--limit");
    refused(
        &[&interpolate[..], &["--niche", "cooking"]].concat(),
        "`asked`, `counting`, `letters`",
    );
}

/// Checks that a tuned model that is the base, or that the base was tuned from, is refused: nothing lies between them,
/// or the gain has the wrong sign.
#[test]
fn equal_and_swapped_models_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    prepare(at);
    finetune(at, "full", &[]).assert().success();
    for command in ["interpolate", "reset"] {
        for (base, tuned, said) in [
            (
                "runs/full",
                "runs/full",
                "has the weights of the base `runs/full/",
            ),
            ("runs/full", "runs/base", "the two are swapped"),
        ] {
            polymath(at)
                .args([
                    command,
                    base,
                    tuned,
                    "--dataset",
                    "data",
                    "--niche",
                    "asked",
                ])
                .args(["-o", "between"])
                .assert()
                .code(2)
                .stderr(contains(said));
            assert!(!at.join("between").exists(), "{command} {base} {tuned}");
        }
    }
}

/// Checks that layers are reset one by one and cumulatively, that resetting all of them gives the base, and that the
/// written model has the reported scores. An adapter is first merged into its base.
#[test]
fn resetting_layers_finds_the_cause_of_the_forgetting() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    prepare(at);
    finetune(at, "full", &[]).assert().success();
    finetune(at, "lora", &["method=lora"]).assert().success();
    let reset = |run: &str| -> Value {
        let output = format!("{run}-reset");
        let mut command = polymath(at);
        command.args(["reset", "runs/base", &format!("runs/{run}")]);
        command.args(["--limit", "0.3", "-o", &output]);
        command.assert().success().stdout(contains("blocks reset"));
        assert!(at.join(&output).join("reset.html").is_file());
        let text = std::fs::read_to_string(at.join(&output).join("reset.json")).unwrap();
        serde_json::from_str(&text).unwrap()
    };
    for run in ["full", "lora"] {
        let found = reset(run);
        let steps = found["steps"].as_array().unwrap();
        // Two layers, and the embedding with the head.
        assert_eq!(found["blocks"].as_array().unwrap().len(), 3);
        assert_eq!(steps.len(), 4);
        let test = |step: usize, key: &str| steps[step]["test"][key].as_f64().unwrap();
        assert!(test(0, "gain") > 0.0, "the tuned model gains");
        assert_eq!(
            (test(3, "gain"), test(3, "forgetting")),
            (0.0, 0.0),
            "resetting all layers gives the base"
        );
        let chosen = found["chosen"].as_u64().unwrap() as usize;
        assert!(steps[chosen]["dev"]["forgetting"].as_f64().unwrap() <= 0.3);
    }
    // The written model is that of the chosen step.
    let found = reset("full");
    let chosen = found["chosen"].as_u64().unwrap() as usize;
    let step = &found["steps"][chosen];
    for split in SPLITS {
        let asked = |checkpoint| {
            let scores = scores(at, checkpoint, split);
            scores["domains"]["asked"]["bits_per_byte"]
                .as_f64()
                .unwrap()
        };
        let gain = asked("runs/base") - asked("full-reset");
        let expected = step[split]["gain"].as_f64().unwrap();
        assert!((gain - expected).abs() < 1e-6, "{split}: {gain} {expected}");
    }
}
