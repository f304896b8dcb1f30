//! Tests of run folders of an earlier version, whose `run.toml` lacks the defaults: finished runs stay finished, and
//! others can be resumed.
//!
//! `tests/old_runs` holds a small dataset, a pretraining and a fine-tuning, made before configurations were saved
//! with their defaults.

use std::path::Path;

use crate::support::fixture::polymath;
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;

/// Copies the stored folders, with their links, to a temporary folder.
fn stored() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    copy(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/old_runs"),
        folder.path(),
    );
    folder
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        let kind = entry.file_type().unwrap();
        if kind.is_symlink() {
            let link = std::fs::read_link(entry.path()).unwrap();
            std::os::unix::fs::symlink(link, target).unwrap();
        } else if kind.is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn finished_runs_of_an_earlier_version_stay_finished() {
    let folder = stored();
    let at = folder.path();
    for command in ["pretrain", "finetune"] {
        let config = format!("{command}.toml");
        // Naming a default's own value is the same setting.
        for same in ["training.precision=f32", "training.sequence_length=256"] {
            polymath(at)
                .args([command, &config, same, "--resume"])
                .assert()
                .success()
                .stderr(contains("is finished: nothing left to do"));
        }
        for other in ["training.learning_rate=0.5", "training.warmup_steps=1"] {
            let key = other.split('=').next().unwrap();
            polymath(at)
                .args([command, &config, other, "--resume"])
                .assert()
                .failure()
                .stderr(contains(format!("`{key}` differs from what this run")));
        }
    }
    polymath(at)
        .args(["frontier", "frontier.toml", "--dry-run"])
        .assert()
        .success()
        .stdout(contains("done"));
    polymath(at)
        .args(["report", "base", "sweep/replay-1", "-o", "report"])
        .assert()
        .success()
        .stdout(contains("letters (niche)"));
}

#[test]
fn an_interrupted_run_of_an_earlier_version_goes_on() {
    let folder = stored();
    let at = folder.path();
    std::fs::remove_dir_all(at.join("base/step-000004")).unwrap();
    polymath(at)
        .args(["pretrain", "pretrain.toml", "--resume"])
        .assert()
        .success()
        .stdout(contains("4 steps done").and(contains("base/best")));
    // A resumed run saves the defaults.
    let saved = std::fs::read_to_string(at.join("base/run.toml")).unwrap();
    for line in [
        "sequence_length = 256",
        "warmup_steps = 0",
        "learning_rate = 0.001",
        "head_dim = 2",
        "num_key_value_heads = 1",
        "intermediate_size = 16",
    ] {
        assert!(saved.contains(line), "{line} in {saved}");
    }
}
