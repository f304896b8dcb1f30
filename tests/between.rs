//! What stands between a base and a tuned model, through the binary: interpolation, and blocks put back.

mod held;

use held::{finetune, polymath, prepare};
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;
use serde_json::Value;

/// The names of the splits in results, and in arguments.
const SPLITS: [(&str, &str); 2] = [("development", "dev"), ("test", "test")];

/// The scores of a checkpoint on one split of the data set.
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

/// Interpolation chooses on one split, reports both, and writes a model that scores as its curve says.
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
        .stdout(contains("chosen").and(contains("| 0.25 |")));
    let curve = std::fs::read_to_string(at.join("mixed/interpolation.json")).unwrap();
    let curve: Value = serde_json::from_str(&curve).unwrap();
    let points = curve["points"].as_array().unwrap();
    assert_eq!(points.len(), 4);
    assert_eq!(points[0]["mean_increase"], 0.0);
    let chosen = &points[curve["chosen"].as_u64().unwrap() as usize];
    assert!(chosen["mean_increase"].as_f64().unwrap() <= 0.3);
    // Each split can be measured again.
    for (name, split) in SPLITS {
        let scores = scores(at, "mixed", split);
        for domain in ["asked", "counting", "letters"] {
            let found = scores["domains"][domain]["bits_per_byte"].as_f64().unwrap();
            let expected = chosen[name][domain].as_f64().unwrap();
            assert!(
                (found - expected).abs() < 1e-6,
                "{split} {domain}: {found} {expected}"
            );
        }
    }
    // `forget` finds the niche by itself.
    polymath(at)
        .args(["forget", "runs/base", "mixed", "-o", "report"])
        .assert()
        .success()
        .stdout(contains("interpolated at"));

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

/// Blocks are put back one by one and one after the other; all of them back is the base; the offered checkpoint scores as
/// its step says. An adapter is taken for what it makes of its base.
#[test]
fn reverting_blocks_finds_where_forgetting_sits() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    prepare(at);
    finetune(at, "full", &[]).assert().success();
    finetune(at, "lora", &["method=lora"]).assert().success();
    let revert = |run: &str| -> Value {
        let output = format!("{run}-back");
        let mut command = polymath(at);
        command.args(["revert", "runs/base", &format!("runs/{run}")]);
        command.args(["--limit", "0.3", "-o", &output]);
        command.assert().success().stdout(contains("put back"));
        assert!(at.join(&output).join("revert.html").is_file());
        let text = std::fs::read_to_string(at.join(&output).join("revert.json")).unwrap();
        serde_json::from_str(&text).unwrap()
    };
    for run in ["full", "lora"] {
        let found = revert(run);
        let steps = found["steps"].as_array().unwrap();
        // Two layers, embedding and head.
        assert_eq!(found["blocks"].as_array().unwrap().len(), 3);
        assert_eq!(steps.len(), 4);
        let test = |step: usize, at: usize| steps[step]["test"][at].as_f64().unwrap();
        assert!(test(0, 0) > 0.0, "the tuned model gains");
        assert_eq!(
            (test(3, 0), test(3, 1)),
            (0.0, 0.0),
            "all put back is the base"
        );
        let chosen = found["chosen"].as_u64().unwrap() as usize;
        assert!(steps[chosen]["development"][1].as_f64().unwrap() <= 0.3);
    }
    // What was written is the chosen step's model.
    let found = revert("full");
    let chosen = found["chosen"].as_u64().unwrap() as usize;
    let step = &found["steps"][chosen];
    for (name, split) in SPLITS {
        let asked = |checkpoint| {
            let scores = scores(at, checkpoint, split);
            scores["domains"]["asked"]["bits_per_byte"]
                .as_f64()
                .unwrap()
        };
        let gain = asked("runs/base") - asked("full-back");
        let expected = step[name][0].as_f64().unwrap();
        assert!((gain - expected).abs() < 1e-6, "{split}: {gain} {expected}");
    }
}
