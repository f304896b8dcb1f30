//! Tests of retention methods through the binary: combined, killed and resumed, and refused.

use std::path::Path;

use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;
use serde_json::Value;

use crate::support::fixture::{assert_resumes, finetune, polymath, prepare, write};

/// Settings that combine all retention methods, with replay of the base's training data.
const TOGETHER: [&str; 7] = [
    "retention.replay.share=0.25",
    "retention.replay.weight=2",
    "retention.l2sp=0.01",
    "retention.ewc.strength=1",
    "retention.ewc.tokens=300",
    "retention.ewc.weights={letters=2}",
    "retention.distill.strength=0.5",
];
/// Settings that combine the retention methods for a base whose training data is not available.
const ALONE: [&str; 6] = [
    "retention.replay.source=self",
    "retention.replay.share=0.3",
    "retention.replay.tokens=1500",
    "retention.distill.strength=0.5",
    "retention.distill.cache=top-k",
    "retention.distill.top_k=8",
];

fn metrics(at: &Path, run: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(at.join("runs").join(run).join("metrics.jsonl")).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Returns the bits per byte of `domain` at a run's last evaluation.
fn last(lines: &[Value], domain: &str) -> f64 {
    let scores = lines
        .iter()
        .rev()
        .find_map(|line| line.get("heldout_bits_per_byte"));
    scores.unwrap()[domain].as_f64().unwrap()
}

/// Checks that replay, L2-SP, EWC and distillation work together: each is logged apart from the loss, and only if
/// used; the model forgets less; the Fisher information is stored beside the base; and a killed run resumes to the
/// same bits.
#[test]
fn methods_work_together() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    prepare(at);
    finetune(at, "plain", &[]).assert().success();
    finetune(at, "whole", &TOGETHER)
        .assert()
        .success()
        .stderr(contains(
            "measuring the Fisher information of the base on `letters`",
        ));
    let (plain, retained) = (metrics(at, "plain"), metrics(at, "whole"));
    assert!(plain.iter().all(|line| line.get("penalties").is_none()));
    let steps: Vec<&Value> = retained
        .iter()
        .filter(|line| line.get("loss").is_some())
        .collect();
    assert_eq!(steps.len(), 20);
    for (number, step) in steps.iter().enumerate() {
        let penalties = step["penalties"].as_object().unwrap();
        assert_eq!(
            penalties.keys().collect::<Vec<_>>(),
            ["distill", "ewc", "l2sp", "replay"]
        );
        for (name, value) in penalties {
            let value = value.as_f64().unwrap();
            assert!(value.is_finite() && value >= 0.0, "{name} {value}");
            let is_of_rows = name == "distill" || name == "replay"; // nothing, where a batch has none that are replayed
            // The penalties are zero as long as the parameters equal the base's.
            assert!(
                number > 0 || name == "replay" || value == 0.0,
                "{name} {value}"
            );
            assert!(
                number == 0 || is_of_rows || value > 0.0,
                "{name} at {number}"
            );
        }
    }
    assert!(
        steps
            .iter()
            .any(|step| step["penalties"]["distill"].as_f64().unwrap() > 0.0)
    );
    for domain in ["counting", "letters"] {
        assert!(last(&retained, domain) < last(&plain, domain), "{domain}");
    }
    let kept = || {
        std::fs::read_dir(at.join("runs/base/fisher"))
            .unwrap()
            .count()
    };
    assert_eq!(kept(), 2);
    // A head that is trained alone is penalized relative to the embedding that it was initialized with.
    let head = [
        "method=frozen",
        "frozen.train=[\"lm_head\"]",
        "training.steps=3",
    ];
    finetune(at, "head", &[&TOGETHER[..], &head[..]].concat())
        .args(["--ops", "reference"])
        .assert()
        .success();
    let head = metrics(at, "head");
    let paid = |name: &str| {
        head.iter()
            .any(|line| line["penalties"][name].as_f64() > Some(0.0))
    };
    assert!(paid("ewc") && paid("l2sp") && paid("distill"));
    assert_resumes(at, "whole", 1, &TOGETHER);
    // The killed run used the stored Fisher information of the first; an untied head has its own.
    assert_eq!(kept(), 4);
}

/// Checks that the retention methods work together on text that the base generates and with cached predictions of the
/// base.
#[test]
fn bases_without_data_are_retained_by_their_own_text() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    prepare(at);
    finetune(at, "alone", &ALONE)
        .assert()
        .success()
        .stderr(contains("generating 1500 tokens").and(contains("most likely 8 tokens")));
    assert!(at.join("runs/alone/teacher.safetensors").exists());
    assert!(!at.join("runs/alone.replay").exists());
    let mut texts = std::fs::read_dir(at.join("runs/base/self-replay")).unwrap();
    let text = texts.next().unwrap().unwrap().path();
    polymath(at)
        .args(["dataset", "text"])
        .arg(&text)
        .args(["--domain", "self", "--split", "train"])
        .assert()
        .success();
    assert_resumes(at, "alone", 1, &ALONE);
    // The generated text is reused, not generated again.
    let written = || {
        let shard = text.join("self/train.safetensors");
        std::fs::metadata(shard).unwrap().modified().unwrap()
    };
    let before = written();
    std::fs::remove_dir_all(at.join("runs/alone")).unwrap();
    finetune(at, "alone", &ALONE)
        .assert()
        .success()
        .stderr(contains("generating").not());
    assert_eq!(before, written());
}

/// Checks that contradictory settings are refused before anything is written, with the key and the choices.
#[test]
fn impossible_retention_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    prepare(at);
    let without = std::fs::read_to_string(at.join("finetune.toml")).unwrap();
    write(
        at,
        "alone.toml",
        &without.replace("retain = \"data\"\n", ""),
    );
    let cases: [(&str, &[&str], &[&str]); 15] = [
        (
            "finetune.toml",
            &["retention.replay=0.6"],
            &["`retention.replay.share` = `0.6`", "0.005 to 0.5"],
        ),
        (
            "finetune.toml",
            &["retention.replay=0"],
            &["`retention.replay.share` = `0`"],
        ),
        (
            "finetune.toml",
            &["retention.replay=others"],
            &["unknown value `others`", "`self`"],
        ),
        (
            "finetune.toml",
            &["retention.replay.sharing=0.1"],
            &["did you mean `share`?"],
        ),
        (
            "finetune.toml",
            &["retention.replay.tokens=5"],
            &["`retention.replay.tokens`", "`source = \"self\"`"],
        ),
        (
            "finetune.toml",
            &["retention.replay.weight=0"],
            &["`retention.replay.weight` = `0`", "above 0"],
        ),
        (
            "finetune.toml",
            &["retention.l2sp=-1"],
            &["`retention.l2sp` = `-1`", "above 0"],
        ),
        (
            "finetune.toml",
            &["retention.ewc.strength=nan"],
            &["`retention.ewc.strength` = `NaN`"],
        ),
        (
            "finetune.toml",
            &[
                "retention.ewc.strength=1",
                "retention.ewc.weights={cooking=1}",
            ],
            &["`cooking`", "`counting`, `letters`"],
        ),
        (
            "finetune.toml",
            &["retention.distill.strength=1"],
            &["`retention.distill`", "`retention.replay`"],
        ),
        (
            "finetune.toml",
            &[
                "retention.distill.strength=1",
                "retention.replay=0.1",
                "retention.distill.top_k=5",
            ],
            &["`retention.distill.top_k`", "`cache = \"top-k\"`"],
        ),
        (
            "alone.toml",
            &["retention.replay=0.1"],
            &["`retention.replay`", "`retain` is not given", "\"self\""],
        ),
        (
            "alone.toml",
            &["retention.ewc.strength=1"],
            &["`retention.ewc`", "`retain` is not given"],
        ),
        (
            "finetune.toml",
            &["retention.limit=1"],
            &["unknown key `limit`"],
        ),
        (
            "finetune.toml",
            &["retention.l2sp=1", "base=runs/nothing"],
            &["runs/nothing"],
        ),
    ];
    for (config, settings, sentences) in cases {
        let output = polymath(at)
            .args(["finetune", config, "run=runs/refused"])
            .args(settings)
            .output()
            .unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{settings:?}: {error}");
        for sentence in sentences {
            assert!(error.contains(sentence), "{settings:?}: {error}");
        }
        assert!(!at.join("runs/refused").exists(), "{settings:?}");
    }
}

/// Checks a control run, which trains by the recipe of another run but on different text: it does not learn the niche,
/// and forgets far less.
#[test]
fn controls_separate_the_recipe_from_the_niche() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    prepare(at);
    finetune(at, "full", &[]).assert().success();
    finetune(at, "control", &["control=true"])
        .assert()
        .success();
    let mut command = polymath(at);
    command.args(["report", "runs/base", "runs/full", "runs/control"]);
    command.args(["-o", "report"]).assert().success();
    let report = std::fs::read_to_string(at.join("report/report.json")).unwrap();
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    let figures = |run: usize| {
        let summary = &report["runs"][run]["summary"];
        let value = |name: &str| summary[name]["value"].as_f64().unwrap();
        (value("niche_gain"), value("mean_forgetting"))
    };
    let (full, control) = (figures(0), figures(1));
    assert!(control.0 < full.0 / 2.0, "{control:?} {full:?}");
    assert!(control.1 < full.1 / 2.0, "{control:?} {full:?}");
    assert_eq!(report["runs"][1]["method"], "full, control");
    finetune(at, "again", &["control=true", "retention.replay=0.1"])
        .assert()
        .code(2)
        .stderr(contains("leave `[retention]` out"));
}
