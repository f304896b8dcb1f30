//! Tests that use runs from another working directory, and after the project's folder has moved.

use std::path::Path;

use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;

use crate::support::fixture::{finetune, polymath, prepare, pretrain_other, sha_of_weights};

/// Makes a project of a base, a full fine-tuning and an adapter, with relative paths in its configs.
fn project(at: &Path) {
    std::fs::create_dir(at).unwrap();
    prepare(at);
    finetune(at, "full", &[]).assert().success();
    let lora = ["method=lora", "lora.rank=2", "training.steps=6"];
    finetune(at, "lora", &lora).assert().success();
}

/// Runs `evaluate`, `generate`, `merge` and `report` in the folder `from`, on the runs in `project`.
fn use_runs(from: &Path, project: &Path, output: &str) {
    let run = |name: &str| project.join("runs").join(name).display().to_string();
    let succeed = |arguments: &[&str]| polymath(from).args(arguments).assert().success();
    let (base, full, lora) = (run("base/best"), run("full"), run("lora"));
    // The datasets of the lineage, and the adapter's base.
    for checkpoint in [&full, &lora] {
        succeed(&["evaluate", checkpoint]).stdout(contains("asked").and(contains("counting")));
    }
    succeed(&[
        "generate",
        &lora,
        "--raw",
        "--prompt",
        "say",
        "--max-tokens",
        "3",
    ]);
    succeed(&["merge", &lora, "--output", &format!("{output}-merged")]);
    succeed(&[
        "report",
        &base,
        &full,
        "--output",
        &format!("{output}-report"),
    ])
    .stdout(contains("asked (niche)"));
}

/// Checks that commands find the files that a run refers to: from another folder, from a project of the same layout,
/// and after the project has moved.
#[test]
fn runs_are_used_from_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().canonicalize().unwrap();
    let (first, other) = (at.join("first"), at.join("other"));
    project(&first);
    std::fs::create_dir(&other).unwrap();
    prepare(&other);
    // A base of other weights where the recorded path leads from here.
    std::fs::remove_dir_all(other.join("runs/base")).unwrap();
    pretrain_other(&other);
    std::fs::rename(other.join("runs/other"), other.join("runs/base")).unwrap();
    use_runs(&at, &first, "elsewhere");
    use_runs(&other, &first, "decoy");

    let moved = at.join("deep/moved");
    std::fs::create_dir(at.join("deep")).unwrap();
    std::fs::rename(&first, &moved).unwrap();
    use_runs(&moved, &moved, "inside");
    use_runs(&at, &moved, "moved");
    use_runs(&other, Path::new("../deep/moved"), "relative");
}

/// Checks that a run resumes by its own `run.toml` from any folder, and by a config that writes the same paths
/// differently.
#[test]
fn a_run_resumes_from_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().canonicalize().unwrap();
    let first = at.join("first");
    project(&first);
    let saved = |run: &str| {
        at.join("moved/runs")
            .join(run)
            .join("run.toml")
            .display()
            .to_string()
    };
    std::fs::rename(&first, at.join("moved")).unwrap();
    for (command, run) in [
        ("pretrain", "base"),
        ("finetune", "full"),
        ("finetune", "lora"),
    ] {
        polymath(&at)
            .args([command, &saved(run), "--resume"])
            .assert()
            .success()
            .stderr(contains("nothing left to do"));
    }
    polymath(&at)
        .args(["finetune", &saved("full"), "training.steps=24", "--resume"])
        .assert()
        .success()
        .stdout(contains("24 steps done"));
    let before = sha_of_weights(&at.join("moved/runs/full"));
    // Nothing was written where the command was given.
    assert!(!at.join("runs").exists());

    let spelled =
        |key: &str, path: &str| format!("{key}={}", at.join("moved").join(path).display());
    polymath(&at)
        .args([
            "finetune",
            "moved/finetune.toml",
            "training.steps=24",
            "--resume",
        ])
        .args([
            spelled("base", "runs/base/best"),
            spelled("dataset", "data"),
        ])
        .args([spelled("retain", "data"), spelled("run", "runs/full")])
        .assert()
        .success()
        .stderr(contains("nothing left to do"));
    assert_eq!(sha_of_weights(&at.join("moved/runs/full")), before);
}
