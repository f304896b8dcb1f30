//! Tests of damaged, unknown and foreign files in a run folder.
#![cfg(unix)]

use std::path::Path;
use std::sync::atomic::AtomicBool;

use polymath_train::{
    Check, Inspection, RunFolder, Silent, TrainError, resolve_checkpoint, verify,
};
use serde_json::Value;

use crate::support::table;
use crate::support::table::{CONFIG, Case, StopAfter, Table};

/// Makes a run that was stopped after step 7, with checkpoints of steps 4, 6 and 7.
fn interrupted(run: &Path) {
    let folder = RunFolder::open(run, CONFIG, false).unwrap();
    let stop = AtomicBool::new(false);
    Case::new()
        .run(&folder, &Table::new(), &stop, &mut StopAfter(7, &stop))
        .unwrap();
}

fn names(run: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(run)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn change(checkpoint: &Path, change: impl FnOnce(&mut Value)) {
    let path = checkpoint.join("state.json");
    let mut state = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    change(&mut state);
    std::fs::write(&path, serde_json::to_string_pretty(&state).unwrap()).unwrap();
}

fn refused(run: &Path) -> String {
    let opened = RunFolder::open(run, CONFIG, true);
    opened.err().expect("refused").to_string()
}

/// Checks that weights of another length than their header says are named: cut off, and with bytes after their end.
#[test]
fn weights_of_another_length_are_broken() {
    let root = tempfile::tempdir().unwrap();
    let run = root.path().join("run");
    interrupted(&run);
    let weights = run.join("step-000007/model.safetensors");
    let whole = std::fs::read(&weights).unwrap();
    let broken = || {
        let found = Inspection::of(&run, Check::Lengths).unwrap();
        let last = found.checkpoints.last().unwrap();
        last.state.as_ref().err().cloned()
    };
    assert_eq!(broken(), None);
    for bytes in [&whole[..whole.len() - 1], &[&whole[..], b"x"].concat()] {
        std::fs::write(&weights, bytes).unwrap();
        let said = broken().unwrap();
        assert!(said.contains("by its header"), "{said}");
    }
}

/// Checks that a checkpoint is refused if any value of its `state.json` was changed, or if its folder has the name of
/// another step, and that the run's other checkpoints are still accepted.
#[test]
fn a_changed_state_breaks_only_its_own_checkpoint() {
    type Change = fn(&mut Value);
    let changes: [Change; 5] = [
        |state| state["step"] = 2.into(),
        |state| state["step"] = 999.into(),
        |state| state["finished"] = true.into(),
        |state| state["best"]["score"] = 0.0.into(),
        |state| state["data_fingerprint"] = "other".into(),
    ];
    for (number, edit) in changes.into_iter().enumerate() {
        let root = tempfile::tempdir().unwrap();
        let run = root.path().join("run");
        interrupted(&run);
        change(&run.join("step-000007"), edit);
        assert!(verify(&run.join("step-000007")).is_err(), "{number}");
        let folder = RunFolder::open(&run, CONFIG, true).unwrap();
        assert_eq!(folder.resumed().unwrap().state.step, 6, "{number}");
        assert!(names(&run).contains(&"step-000007".to_owned()), "{number}");
        folder
            .prepare_resume(&crate::support::table::saving())
            .unwrap();
        let steps: Vec<String> = names(&run)
            .into_iter()
            .filter(|name| name.contains("step-"))
            .collect();
        assert_eq!(
            steps,
            ["broken-step-000007", "step-000004", "step-000006"],
            "{number}"
        );
    }
    let root = tempfile::tempdir().unwrap();
    let run = root.path().join("run");
    interrupted(&run);
    std::fs::rename(run.join("step-000007"), run.join("step-000009")).unwrap();
    let folder = RunFolder::open(&run, CONFIG, true).unwrap();
    assert!(folder.skipped()[0].contains("named after step 9, but its `state.json` is of step 7"));
    assert_eq!(folder.resumed().unwrap().state.step, 6);
}

/// Checks that a run with a checkpoint of an unknown version, or with a file that can't be read at the moment, is
/// refused and nothing is changed: neither means that the checkpoint is broken.
#[test]
fn unknown_versions_and_unreadable_files_are_kept() {
    let root = tempfile::tempdir().unwrap();
    let run = root.path().join("run");
    interrupted(&run);
    let before = names(&run);
    change(&run.join("step-000007"), |state| state["schema"] = 3.into());
    let error = refused(&run);
    assert!(error.contains("version 3"), "{error}");
    assert_eq!(names(&run), before);
    change(&run.join("step-000007"), |state| state["schema"] = 1.into());
    let error = refused(&run);
    assert!(error.contains("older version"), "{error}");
    assert_eq!(names(&run), before);
}

/// Checks that a checkpoint without its optimizer's state can be read as a model, but not resumed from, and that
/// altered weights are refused.
#[test]
fn a_model_is_read_without_its_optimizer() {
    let root = tempfile::tempdir().unwrap();
    let run = root.path().join("run");
    interrupted(&run);
    let checkpoint = run.join("step-000007");
    std::fs::remove_file(checkpoint.join("optimizer.safetensors")).unwrap();
    assert_eq!(resolve_checkpoint(&checkpoint).unwrap(), checkpoint);
    assert!(verify(&checkpoint).is_err());
    let resumed = RunFolder::open(&run, CONFIG, true).unwrap();
    assert_eq!(resumed.resumed().unwrap().state.step, 6);
    let weights = checkpoint.join("model.safetensors");
    let mut bytes = std::fs::read(&weights).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&weights, bytes).unwrap();
    let error = resolve_checkpoint(&checkpoint).unwrap_err().to_string();
    assert!(error.contains("`model.safetensors` was altered"), "{error}");
}

/// Checks that a state that lists a pipe or a file elsewhere is refused without reading it.
#[test]
fn states_that_list_pipes_or_foreign_files_are_refused() {
    let root = tempfile::tempdir().unwrap();
    let run = root.path().join("run");
    interrupted(&run);
    let checkpoint = run.join("step-000007");
    let weights = checkpoint.join("model.safetensors");
    std::fs::remove_file(&weights).unwrap();
    let made = std::process::Command::new("mkfifo").arg(&weights).status();
    assert!(made.unwrap().success());
    let error = verify(&checkpoint).unwrap_err();
    assert!(matches!(error, TrainError::Broken { .. }), "{error}");
    assert!(error.to_string().contains("named pipe"), "{error}");
    let state = run.join("step-000006/state.json");
    std::fs::remove_file(&state).unwrap();
    let made = std::process::Command::new("mkfifo").arg(&state).status();
    assert!(made.unwrap().success());
    let folder = RunFolder::open(&run, CONFIG, true).unwrap();
    assert_eq!(folder.resumed().unwrap().state.step, 4);
}

/// Checks that the leftovers of an interrupted first start are removed at every stage, and that a folder with any
/// other content stays unchanged.
#[test]
fn leftovers_of_an_interrupted_first_start_are_removed() {
    let root = tempfile::tempdir().unwrap();
    let stages: [&[&str]; 5] = [
        &[],
        &[".lock"],
        &[".lock", ".run.toml.polymath-tmp"],
        &[".lock", "run.tmp"],
        &[".lock", "run.toml", ".metrics.jsonl.polymath-tmp"],
    ];
    for (number, files) in stages.into_iter().enumerate() {
        let run = root.path().join(number.to_string());
        std::fs::create_dir(&run).unwrap();
        for file in files {
            std::fs::write(run.join(file), "half").unwrap();
        }
        let folder = RunFolder::open(&run, CONFIG, false).unwrap();
        let table = Table::new();
        Case::new()
            .run(&folder, &table, &AtomicBool::new(false), &mut Silent)
            .unwrap();
        let left = names(&run).into_iter().filter(|name| name.contains("tmp"));
        assert_eq!(left.count(), 0);
    }
    let foreign = root.path().join("foreign");
    std::fs::create_dir(&foreign).unwrap();
    for name in [".lock", "run.tmp", ".tmp-notes"] {
        std::fs::write(foreign.join(name), "precious").unwrap();
    }
    let before = names(&foreign);
    assert!(refused(&foreign).contains("is not a run folder"));
    assert_eq!(names(&foreign), before);
}

/// Checks that of two starts at the same time, the second one gets an error that names the process of the first.
#[test]
fn the_second_of_two_starts_names_the_process() {
    let root = tempfile::tempdir().unwrap();
    let run = root.path().join("run");
    std::fs::create_dir(&run).unwrap();
    // The first process holds its lock and has written an unfinished file whose name no version uses.
    let held = polymath_base::lock(&run.join(".lock")).unwrap();
    std::fs::write(run.join("later.bin"), "half").unwrap();
    let told = format!("in use by another process (process {})", std::process::id());
    let error = refused(&run);
    assert!(error.contains(&told), "{error}");
    drop(held);
    assert!(refused(&run).contains("is not a run folder"));
}

/// Checks that a line of the metrics with an invalid byte is reported and moved to another file, and that the run
/// continues.
#[test]
fn an_unreadable_metrics_line_is_moved_to_another_file() {
    struct Messages(Vec<String>);
    impl polymath_train::Observer for Messages {
        fn message(&mut self, text: &str) {
            self.0.push(text.to_owned());
        }
    }
    let root = tempfile::tempdir().unwrap();
    let run = root.path().join("run");
    interrupted(&run);
    let metrics = run.join("metrics.jsonl");
    let mut bytes = std::fs::read(&metrics).unwrap();
    bytes[5] = 0xff;
    bytes.extend(b"{\"step\":8,\"lo");
    std::fs::write(&metrics, &bytes).unwrap();
    let folder = RunFolder::open(&run, CONFIG, true).unwrap();
    let table = Table::load(&folder.resumed().unwrap().path);
    let mut messages = Messages(Vec::new());
    Case::new()
        .run(&folder, &table, &AtomicBool::new(false), &mut messages)
        .unwrap();
    let told = messages.0.join("\n");
    assert!(told.contains("1 lines could not be read (1)"), "{told}");
    let aside = std::fs::read(run.join("metrics-broken.jsonl")).unwrap();
    assert_eq!(aside, &bytes[..=aside.len() - 1]);
    assert_eq!(table::records(&run).last().unwrap()["step"], 20);
}

/// Checks that weights that are not finite are never saved.
#[test]
fn infinite_weights_are_not_saved() {
    use candle_core::{Device, Tensor};
    let root = tempfile::tempdir().unwrap();
    let run = root.path().join("run");
    let folder = RunFolder::open(&run, CONFIG, false).unwrap();
    struct Breaks<'a>(&'a Table);
    impl polymath_train::Observer for Breaks<'_> {
        fn after_step(&mut self, metrics: &polymath_train::StepMetrics) {
            if metrics.step == 6 {
                let infinite = Tensor::new(&[f32::INFINITY], &Device::Cpu).unwrap();
                self.0.parameters["offset"].set(&infinite).unwrap();
            }
        }
    }
    let table = Table::new();
    let error = Case::new()
        .run(
            &folder,
            &table,
            &AtomicBool::new(false),
            &mut Breaks(&table),
        )
        .unwrap_err();
    assert!(matches!(error, TrainError::Diverged(_)), "{error}");
    assert!(error.to_string().contains("`offset`"), "{error}");
    assert_eq!(verify(&run.join("latest")).unwrap().step, 4);
}

/// Checks that a best checkpoint that can't be looked up is an error, instead of silently using the latest one, which
/// is another model.
#[cfg(unix)]
#[test]
fn a_link_that_cannot_be_looked_up_is_an_error() {
    use std::os::unix::fs::symlink;

    let root = tempfile::tempdir().unwrap();
    let run = root.path().canonicalize().unwrap().join("run");
    std::fs::create_dir_all(run.join("latest")).unwrap();
    std::fs::write(run.join("latest/config.json"), "{}").unwrap();
    symlink("best", run.join("best")).unwrap();
    let error = polymath_train::resolve(&run).unwrap_err().to_string();
    assert!(error.contains("best/config.json"), "{error}");
    std::fs::remove_file(run.join("best")).unwrap();
    let found = polymath_train::resolve(&run).unwrap();
    assert_eq!(found.folder, run.join("latest"));
}
