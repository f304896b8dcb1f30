//! Tests of `polymath runs`: the listed state of each run, and the checkpoints that a removal takes and leaves.

use std::path::Path;

use predicates::prelude::PredicateBooleanExt;
use predicates::str::{contains, is_match};
use serde_json::Value;

use crate::support::fixture::{finetune, polymath, prepare, write};

/// Returns the listed runs in `at` and its subfolders as JSON, by their folder.
fn listed(at: &Path, arguments: &[&str]) -> std::collections::BTreeMap<String, Value> {
    let output = polymath(at)
        .args(["runs", "--json"])
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let runs: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    runs.into_iter()
        .map(|run| (run["folder"].as_str().unwrap().to_owned(), run))
        .collect()
}

fn steps(run: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(run)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains("step-"))
        .collect();
    names.sort();
    names
}

/// Checks that each run is listed with its state, lineage and last score: finished, interrupted, broken, without a
/// checkpoint.
#[test]
fn runs_are_listed_with_their_state() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    prepare(at);
    for run in ["full", "cut", "altered", "early"] {
        finetune(at, run, &["checkpoint.every=5", "checkpoint.keep=9"])
            .assert()
            .success();
    }
    // As a killed process leaves a run between two checkpoints.
    std::fs::remove_dir_all(at.join("runs/cut/step-000020")).unwrap();
    let weights = |run: &str| {
        at.join("runs")
            .join(run)
            .join("step-000020/model.safetensors")
    };
    let bytes = std::fs::read(weights("full")).unwrap();
    std::fs::write(weights("altered"), &bytes[..bytes.len() - 1]).unwrap();
    for step in steps(&at.join("runs/early")) {
        std::fs::remove_dir_all(at.join("runs/early").join(step)).unwrap();
    }
    let found = listed(at, &[]);
    let state = |run: &str| found[run]["state"].as_str().unwrap().to_owned();
    assert_eq!(state("runs/base"), "finished");
    assert_eq!(state("runs/full"), "finished");
    assert_eq!(state("runs/cut"), "interrupted");
    assert_eq!(
        (&found["runs/cut"]["step"], &found["runs/cut"]["of"]),
        (&15.into(), &20.into())
    );
    assert_eq!(state("runs/altered"), "broken");
    assert!(
        found["runs/altered"]["message"]
            .as_str()
            .unwrap()
            .contains("was cut off or altered")
    );
    assert_eq!(state("runs/early"), "not-begun");
    let full = &found["runs/full"];
    assert_eq!(
        (&full["base"], &full["niche"]),
        (&"runs/base/best".into(), &"asked".into())
    );
    assert_eq!(full["last_score"]["name"], "asked");
    assert!(full["bytes"].as_u64().unwrap() > bytes.len() as u64);
    assert!(found["runs/base"].get("base").is_none());
    // Two of the three domains were trained on.
    assert_eq!(found["runs/base"]["last_score"]["name"], "mean");

    polymath(at)
        .args(["runs", "runs"])
        .assert()
        .success()
        .stdout(
            contains("interrupted, step 15 of 20")
                .and(contains("runs/base/best → asked (full)"))
                .and(is_match(r"asked \d+\.\d{4}").unwrap())
                .and(is_match(r"20\d\d-\d\d-\d\d \d\d:\d\d").unwrap())
                .and(contains("runs/altered: `runs/altered/step-000020`")),
        );
    // A byte that was altered shows in the digests alone.
    let mut altered = bytes.clone();
    *altered.last_mut().unwrap() ^= 1;
    std::fs::write(weights("full"), &altered).unwrap();
    assert_eq!(listed(at, &["runs/full"])["runs/full"]["state"], "finished");
    assert_eq!(
        listed(at, &["runs/full", "--verify"])["runs/full"]["state"],
        "broken"
    );
    // So is an earlier checkpoint, and the run is still finished.
    std::fs::write(weights("full"), &bytes).unwrap();
    std::fs::write(at.join("runs/full/step-000010/model.safetensors"), &altered).unwrap();
    let full = &listed(at, &["runs/full", "--verify"])["runs/full"];
    assert_eq!(full["state"], "finished");
    let [broken] = &full["broken_checkpoints"].as_array().unwrap()[..] else {
        panic!("{full}");
    };
    assert!(broken.as_str().unwrap().contains("step-000010"), "{broken}");
    polymath(at)
        .args(["runs", "runs/full", "--verify"])
        .assert()
        .success()
        .stdout(
            contains("finished, 20 steps, 1 checkpoint broken").and(contains("step-000010`: ")),
        );
    polymath(at)
        .args(["runs", "gone"])
        .assert()
        .code(2)
        .stderr(contains("`gone` is not a folder"));
    polymath(at)
        .args(["runs", "data"])
        .assert()
        .success()
        .stdout(contains("no run in `data`"));
}

/// Checks that a removal lists the checkpoints that it will take, asks, and leaves the newest and the best one,
/// milestones, and those that another run or adapter was made from, wherever the project lies.
#[test]
fn a_removal_leaves_what_is_needed() {
    let folder = tempfile::tempdir().unwrap();
    let first = folder.path().join("first");
    std::fs::create_dir(&first).unwrap();
    prepare(&first);
    polymath(&first)
        .args([
            "pretrain",
            "pretrain.toml",
            "run=runs/kept",
            "checkpoint.every=3",
            "checkpoint.keep=99",
        ])
        .args(["evaluation.every=30", "checkpoint.milestones=[6]"])
        .assert()
        .success();
    finetune(
        &first,
        "full",
        &["base=runs/kept/step-000009", "training.steps=3"],
    )
    .assert()
    .success();
    let lora = [
        "base=runs/kept/step-000012",
        "method=lora",
        "training.steps=3",
    ];
    finetune(&first, "lora", &lora).assert().success();
    let broken = first.join("runs/kept/broken-step-000004");
    std::fs::create_dir(&broken).unwrap();
    write(&broken, "state.json", "{}");
    let cut_off = first.join("runs/kept/step-000003");
    write(&cut_off, ".state.json.polymath-tmp", "{");
    // A person's notes are not the run's.
    write(
        &first.join("runs/kept/step-000018"),
        "notes.md",
        "Best poems so far.",
    );
    let at = folder.path().join("second");
    std::fs::rename(&first, &at).unwrap();

    let kept = at.join("runs/kept");
    let before = steps(&kept);
    let prune = |arguments: &[&str]| {
        let mut command = polymath(folder.path());
        command
            .args(["runs", "--prune", "second/runs/kept"])
            .args(arguments);
        command.assert()
    };
    prune(&[])
        .code(2)
        .stdout(
            is_match(r"(?m)^remove  second/runs/kept/step-000003 .* kB  neither newest nor best$")
                .unwrap()
                .and(is_match(r"(?m)^remove  second/runs/kept/broken-step-000004 +2 B  broken, and set aside").unwrap())
                .and(is_match(r"keep    second/runs/kept/step-000006 .*`checkpoint.milestones`").unwrap())
                .and(is_match(r"keep    second/runs/kept/step-000018 .*`notes.md`").unwrap())
                .and(contains("made from a checkpoint below").and(contains("second/runs/kept`")))
                .and(
                    is_match(r"keep    second/runs/kept/step-000009 .*runs/full` came from it")
                        .unwrap(),
                )
                .and(
                    is_match(r"keep    second/runs/kept/step-000012 .*runs/lora` came from it")
                        .unwrap(),
                ),
        )
        .stderr(contains("give `--yes`"));
    assert_eq!(steps(&kept), before);
    prune(&["--yes"]).success().stdout(contains("removed "));
    let needed = [6, 9, 12, 18, 30].map(|step| format!("step-{step:06}"));
    assert_eq!(steps(&kept), needed);
    for link in ["best", "latest"] {
        assert!(kept.join(link).join("model.safetensors").is_file());
    }
    prune(&[]).success().stdout(contains("nothing to remove"));
    // The adapter's base is where it was, and the run is as finished as before.
    polymath(&at)
        .args(["evaluate", "runs/lora"])
        .assert()
        .success();
    polymath(&at)
        .args(["pretrain", "runs/kept/run.toml", "--resume"])
        .assert()
        .success()
        .stderr(contains("nothing left to do"));
}

/// Checks that a removal takes nothing from a run that a process is training, or whose newest checkpoint is incomplete.
#[test]
fn a_removal_passes_over_runs_in_use_and_broken_ones() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    prepare(at);
    for run in ["used", "broken"] {
        polymath(at)
            .args(["pretrain", "pretrain.toml", &format!("run=runs/{run}")])
            .args(["checkpoint.every=5", "checkpoint.keep=99"])
            .assert()
            .success();
    }
    let [used, broken] = ["used", "broken"].map(|run| at.join("runs").join(run));
    let lock = std::fs::OpenOptions::new()
        .write(true)
        .open(used.join(".lock"))
        .unwrap();
    lock.lock().unwrap();
    let optimizer = broken.join("step-000030/optimizer.safetensors");
    let mut bytes = std::fs::read(&optimizer).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&optimizer, bytes).unwrap();
    let before = [steps(&used), steps(&broken)];
    polymath(at)
        .args(["runs", "runs/used", "runs/broken", "--prune", "--yes"])
        .assert()
        .success()
        .stdout(
            is_match(r"(?m)^keep    runs/used +a process trains it$")
                .unwrap()
                .and(
                    is_match(r"(?m)^keep    runs/broken +it is broken: .*`optimizer.safetensors`")
                        .unwrap(),
                )
                .and(contains("nothing to remove")),
        );
    assert_eq!([steps(&used), steps(&broken)], before);
    assert_eq!(listed(at, &["runs/used"])["runs/used"]["state"], "running");
}

/// Checks that a removal leaves the checkpoints that a run inside of another run's folder, and one behind a link, were
/// made from, and that such an inner run is listed.
#[cfg(unix)]
#[test]
fn bases_of_inner_and_linked_runs_stay() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    prepare(at);
    polymath(at)
        .args(["pretrain", "pretrain.toml", "run=runs/long"])
        .args(["checkpoint.every=5", "checkpoint.keep=99"])
        .assert()
        .success();
    let far = tempfile::tempdir().unwrap();
    let tuned = far.path().join("tuned").display().to_string();
    for (base, run) in [
        ("runs/long/step-000005", "runs/long/tuned"),
        ("runs/long/step-000010", &tuned),
    ] {
        let base = at.join(base).display().to_string();
        finetune(at, "none", &["training.steps=1"])
            .args([format!("base={base}"), format!("run={run}")])
            .assert()
            .success();
    }
    std::os::unix::fs::symlink(far.path(), at.join("linked")).unwrap();
    assert!(listed(at, &["runs/long"]).contains_key("runs/long/tuned"));
    polymath(at)
        .args(["runs", "runs/long", "--prune", "--yes"])
        .assert()
        .success()
        .stdout(
            contains("`runs/long/tuned` came from it").and(contains("linked/tuned` came from it")),
        );
    let left = ["step-000005", "step-000010", "step-000030"];
    assert_eq!(steps(&at.join("runs/long")), left);
}

/// Checks that runs are listed by the names of their folders, that a removal takes each checkpoint from its own run,
/// and that it leaves the best one where the newest is another.
#[test]
fn removals_stay_within_their_run() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    prepare(at);
    for run in ["second", "first", "third"] {
        polymath(at)
            .args(["pretrain", "pretrain.toml", &format!("run=runs/{run}")])
            .args(["checkpoint.every=5", "checkpoint.keep=99"])
            .assert()
            .success();
    }
    for (run, step) in [("first", "step-000005"), ("second", "step-000010")] {
        let best = at.join("runs").join(run).join("best");
        std::fs::remove_file(&best).unwrap();
        std::os::unix::fs::symlink(step, &best).unwrap();
    }
    let output = polymath(at).args(["runs", "--json"]).output().unwrap();
    let runs: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let names: Vec<&str> = runs
        .iter()
        .map(|run| run["folder"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        ["runs/base", "runs/first", "runs/second", "runs/third"]
    );

    let removed = 4 + 4 + 5;
    polymath(at)
        .args(["runs", "--prune", "--yes"])
        .assert()
        .success()
        .stdout(contains(format!("removed {removed} folders, ")));
    for (run, left) in [
        ("first", &["step-000005", "step-000030"][..]),
        ("second", &["step-000010", "step-000030"]),
        ("third", &["step-000030"]),
    ] {
        let run = at.join("runs").join(run);
        assert_eq!(steps(&run), left, "{}", run.display());
        for link in ["best", "latest"] {
            assert!(run.join(link).join("model.safetensors").is_file());
        }
    }
}
