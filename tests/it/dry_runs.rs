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
    // Weights and two moments of 36384 numbers, of the two checkpoints of the run and the one being written.
    let whole = "1.3 MB  at most, for 3 checkpoints of 437 kB\n";
    for (settings, parts) in [
        (
            // A forward pass takes two operations for each parameter and token, at half of the rate.
            &["retention.replay=self"][..],
            &[
                "  6250 tokens of text from the base\n",
                "  1.815e9  floating-point, 2.358e5 per position\n",
                whole,
            ][..],
        ),
        (
            // 20 steps of 4 rows of 48 tokens of the niche, and a quarter as much beside them.
            &["retention.replay.share=0.2", "retention.replay.beside=true"],
            &["            4800", "  1.132e9  floating-point", whole],
        ),
        (
            &[
                "retention.ewc.strength=1.0",
                "retention.l2sp=0.1",
                "retention.ewc.tokens=700",
            ],
            &[
                "  Fisher information of 2 domains on 700 tokens each\n",
                whole,
            ],
        ),
        (
            &[
                "retention.replay=0.3",
                "retention.distill.strength=1.0",
                "retention.distill.cache=top-k",
            ],
            // 0.3 of 20 steps of 4 rows.
            &["  the base's predictions for 24 rows\n"],
        ),
        (
            &["retention.replay=0.3", "retention.distill.strength=1.0"],
            &["  9.054e8  floating-point"],
        ),
        (
            // 12288 numbers of the adapter.
            &["method=lora"],
            &[
                "  8.277e8  floating-point",
                "  at most, for 3 checkpoints of 147 kB\n",
            ],
        ),
        (&["control=true"], &["            3840\n", whole]),
        (
            &[
                "retention.limits.default=0.5",
                "evaluation.max_tokens=100000",
            ],
            &[
                "the search of the limits",
                "the verdict of the limits",
                "evaluations",
                "            5760\n",
                "2.2 MB  at most, for 5 checkpoints of 437 kB\n",
            ],
        ),
    ] {
        let is_limited = settings[0].starts_with("retention.limits");
        let counts = match is_limited {
            true => ["  20 steps\n", "  12 evaluations\n", "  10 checkpoints\n"],
            false => ["  20 steps\n", "  3 evaluations\n", "  2 checkpoints\n"],
        };
        let mut command = finetune(at, "none", settings);
        let mut assert = command.arg("--dry-run").assert().success();
        for part in parts
            .iter()
            .chain(&counts)
            .chain(&["checkpoints", "disk  "])
        {
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
            "output = \"frontier\"\nseeds = [1, 2]\nconfirm_seed = 9\ninterpolate = [0.5]\n[runs.full]\n[runs.lora]\nmethod = \"lora\"\n\
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
        let names: Vec<String> = match kind {
            "frontier" => ["full", "lora"]
                .iter()
                .flat_map(|method| [1, 2].map(|seed| format!("{method}, seed {seed}")))
                .collect(),
            _ => ["asked", "counting", "letters"]
                .map(|domain| format!("{domain}, seed 1"))
                .to_vec(),
        };
        // 6 steps of 4 rows of 48 tokens.
        let lines = names
            .iter()
            .map(|name| format!("{name:24} {:>12} tokens  to do, ", 1152));
        let found = text.lines().take(runs);
        assert!(
            found
                .zip(lines)
                .all(|(line, begin)| line.starts_with(&begin)),
            "{text}"
        );
        // Checkpoints of 436608 bytes, of an adapter 147456: four of each run, and five where an early one is kept.
        let disk = match kind {
            "frontier" => "and 4.7 MB of disk\n",
            _ => "and 6.5 MB of disk\n",
        };
        assert!(text.ends_with(disk), "{text}");
        let fresh = text.contains("a run with the fresh seed, at most");
        assert_eq!(fresh, kind == "frontier", "{text}");
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
