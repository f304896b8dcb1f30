//! Tests of dry runs: the time that they measure, the cost that they count, and that they write nothing.

use std::path::Path;
use std::time::Instant;

use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;

use crate::support::fixture::{files, finetune, polymath, prepare, prepare_data, read_json, write};

/// Returns the number of seconds in the line of a dry run's output that begins with `time`.
fn seconds(output: &str) -> f64 {
    let line = output.lines().find(|line| line.starts_with("time "));
    let line = line.unwrap_or_else(|| panic!("no time in {output}"));
    let words: Vec<&str> = line.split_whitespace().collect();
    let units = [("h", 3600.0), ("min", 60.0), ("s", 1.0)];
    let parts = words.windows(2).filter_map(|pair| {
        let (_, unit) = units.iter().find(|(name, _)| *name == pair[1])?;
        Some(pair[0].parse::<f64>().ok()? * unit)
    });
    parts.sum()
}

fn dry(at: &Path, arguments: &[&str]) -> String {
    let output = polymath(at)
        .args(arguments)
        .arg("--dry-run")
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Checks that the time that a dry run estimates is about the time that the run then takes, within a wide margin, since
/// a shared machine varies.
#[test]
fn the_time_of_a_run_is_measured() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    prepare(at);
    let long = [
        "pretrain",
        "pretrain.toml",
        "run=runs/long",
        "training.steps=1500",
        "evaluation.every=500",
    ];
    let text = dry(at, &long);
    assert!(
        text.contains("1500 steps") && text.contains("3 evaluations"),
        "{text}"
    );
    assert!(!at.join("runs/long").exists());
    let begin = Instant::now();
    polymath(at).args(long).assert().success();
    let (said, taken) = (seconds(&text), begin.elapsed().as_secs_f64());
    assert!(
        said < 4.0 * taken && taken < 4.0 * said + 2.0,
        "{said} s, {taken} s: {text}"
    );
    // Steps that are done are not counted again.
    let left = dry(at, &long);
    assert!(left.contains("  0 steps"), "{left}");
}

/// Checks that a pretraining without a length makes four passes over the training text of its own domains, not of all.
#[test]
fn passes_are_over_the_domains_of_the_mixture() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    prepare_data(at);
    let config = std::fs::read_to_string(at.join("pretrain.toml")).unwrap();
    write(at, "free.toml", &config.replace("steps = 30\n", ""));
    let manifest = read_json(&at.join("data/dataset.json"));
    let tokens = |name: &str| {
        manifest["domains"][name]["train"]["tokens"]
            .as_u64()
            .unwrap()
    };
    let all = 4 * (tokens("counting") + tokens("letters"));
    let said = dry(at, &["pretrain", "free.toml", "run=runs/free"]);
    assert!(
        said.contains(&format!("length: {all} tokens, 4.0 passes")),
        "{said}"
    );
}

/// Checks that each method is counted with what it computes before the first step, and limits with their search and
/// verdict. Nothing is written: no run, no text, and no cache beside the base.
#[test]
fn every_method_is_measured_without_writing() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    crate::limits::prepare(at);
    let before = files(at);
    for (settings, parts) in [
        (
            &["retention.replay=self"][..],
            &["tokens of text from the base"][..],
        ),
        (
            // 20 steps of 4 rows of 48 tokens of the niche, and a quarter as much beside them.
            &["retention.replay.share=0.2", "retention.replay.beside=true"],
            &["            4800"],
        ),
        (
            &["retention.ewc.strength=1.0", "retention.l2sp=0.1"],
            &["Fisher information of 2 domains"],
        ),
        (
            &[
                "retention.replay=0.3",
                "retention.distill.strength=1.0",
                "retention.distill.cache=top-k",
            ],
            &["the base's predictions for "],
        ),
        (
            &["retention.replay=0.3", "retention.distill.strength=1.0"],
            &["20 steps"],
        ),
        (&["method=lora"], &["20 steps"]),
        (&["control=true"], &["20 steps"]),
        (
            &[
                "retention.limits.default=0.5",
                "evaluation.max_tokens=100000",
            ],
            &[
                "the search of the limits",
                "the verdict of the limits",
                "evaluations",
            ],
        ),
    ] {
        let mut command = finetune(at, "none", settings);
        let mut assert = command.arg("--dry-run").assert().success();
        for part in parts.iter().chain(&["checkpoints", "disk  "]) {
            assert = assert.stdout(contains(*part));
        }
    }
    assert_eq!(files(at), before);
}

/// Checks that a dry run of a frontier and of a transfer matrix adds up time, memory and disk of all runs and the time
/// of the scoring after them.
#[test]
fn sweeps_are_measured() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    prepare(at);
    let shared = "base = \"runs/base/best\"\n[shared.training]\nsteps = 6\nbatch_size = 4\n[shared.evaluation]\nmax_tokens = 500\n";
    write(
        at,
        "frontier.toml",
        &format!(
            "output = \"frontier\"\nseeds = [1, 2]\ninterpolate = [0.5]\n[runs.full]\n[runs.lora]\nmethod = \"lora\"\n\
             [shared]\ndataset = \"data\"\ndomain = \"asked\"\nretain = \"data\"\n{shared}"
        ),
    );
    write(
        at,
        "transfer.toml",
        &format!(
            "output = \"transfer\"\ndatasets = [\"data\"]\ngradient_tokens = 2000\n[shared]\n{shared}"
        ),
    );
    let before = files(at);
    for (kind, runs, models) in [
        ("frontier", 4, "scoring of 9 models"),
        ("transfer", 3, "scoring of 4 models"),
    ] {
        let text = dry(at, &[kind, &format!("{kind}.toml")]);
        assert_eq!(text.matches("to do, ").count(), runs, "{text}");
        assert!(
            text.contains(models) && text.contains("all that is left"),
            "{text}"
        );
        assert!(
            text.contains("of memory and ") && text.contains("of disk"),
            "{text}"
        );
    }
    assert_eq!(files(at), before);
    polymath(at)
        .args(["transfer", "transfer.toml", "--dry-run"])
        .assert()
        .success()
        .stdout(contains("gradients on 6000 tokens").and(contains("3 early checkpoints")));
}
