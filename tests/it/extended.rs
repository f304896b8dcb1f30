//! Tests of finished runs that are trained for longer: pretraining, fine-tuning, fine-tuning under limits, and the runs
//! of a frontier.

use std::path::Path;

use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;

use crate::support::fixture::{
    files, finetune, killable, polymath, prepare, read_json as json, records, sha_of_weights, write,
};

/// Checks that `--resume` continues a finished pretraining whose length was raised, with the same bits if it is killed
/// on the way. The run can't be shortened, and without `--resume` it is left alone.
#[test]
fn a_finished_pretraining_is_extended() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    prepare(at);
    let pretrain = |arguments: &[&str]| {
        let mut command = polymath(at);
        command.args(["pretrain", "pretrain.toml"]).args(arguments);
        command.assert()
    };
    for run in ["run=runs/whole", "run=runs/killed"] {
        pretrain(&[run, "training.steps=12"]).success();
    }
    let longer = ["run=runs/whole", "training.steps=24"];
    pretrain(&longer)
        .failure()
        .stderr(contains("is finished (12 steps)").and(contains("`--resume` to extend it")));
    pretrain(&[&longer[..], &["--resume"]].concat())
        .success()
        .stdout(contains("24 steps done"))
        .stderr(contains(
            "`runs/whole` continues after step 12 to step 24, in place of 12: the learning rate rises",
        ));
    let often = ["checkpoint.every=1", "checkpoint.keep=99"];
    let killed = [
        "pretrain",
        "pretrain.toml",
        "run=runs/killed",
        "training.steps=24",
        "--resume",
    ];
    let places = ("step-000015/state.json", "step-000024");
    kill_resumed(at, &[&killed[..], &often].concat(), places);
    polymath(at).args(killed).assert().success();
    let [whole, killed] = ["runs/whole", "runs/killed"].map(|run| at.join(run));
    assert_eq!(sha_of_weights(&whole), sha_of_weights(&killed));
    assert_eq!(records(&whole), records(&killed));
    let saved = std::fs::read_to_string(whole.join("run.toml")).unwrap();
    assert!(saved.contains("after = 12\nsteps = 12"), "{saved}");

    pretrain(&["run=runs/whole", "training.steps=12", "--resume"])
        .failure()
        .stderr(contains("has 24 steps, and `training` asks for 12"));
    pretrain(&[&longer[..], &["--resume"]].concat())
        .success()
        .stderr(contains("nothing left to do"));
}

/// Kills the resuming command in the middle. If the run finishes before the kill, starts again from the copy of the
/// finished run.
fn kill_resumed(at: &Path, arguments: &[&str], places: (&str, &str)) {
    let run = at.join("runs/killed");
    let kept = at.join("kept");
    copy(&run, &kept);
    loop {
        let mut process = killable(at).args(arguments).spawn().unwrap();
        while !run.join(places.0).exists() && process.try_wait().unwrap().is_none() {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        process.kill().unwrap();
        process.wait().unwrap();
        assert!(run.join(places.0).exists());
        if !run.join(places.1).exists() {
            return;
        }
        std::fs::remove_dir_all(&run).unwrap();
        copy(&kept, &run);
    }
}

fn copy(from: &Path, to: &Path) {
    let copied = std::process::Command::new("cp")
        .arg("-a")
        .args([from, to])
        .status();
    assert!(copied.unwrap().success());
}

/// Checks that an extended run keeps the batch rows and learning rate that were chosen for its first length, even if
/// its config would now give others, and that it says so each time.
#[test]
fn an_extension_keeps_what_was_chosen() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    prepare(at);
    let three = [
        "finetune",
        "base=runs/base/best",
        "dataset=data",
        "domain=asked",
        "run=runs/asked",
    ];
    let short = [
        "evaluation.max_tokens=500",
        "evaluation.every=never",
        "training.sequence_length=32",
    ];
    polymath(at).args(three).args(short).assert().success();
    let before: toml::Table = std::fs::read_to_string(at.join("runs/asked/run.toml"))
        .unwrap()
        .parse()
        .unwrap();
    let longer = ["training.epochs=3.2", "--resume"];
    polymath(at)
        .args(three)
        .args(short)
        .args(longer)
        .assert()
        .success()
        .stderr(contains("continues after step").and(contains("as the run began: ")));
    let read = || -> toml::Table {
        std::fs::read_to_string(at.join("runs/asked/run.toml"))
            .unwrap()
            .parse()
            .unwrap()
    };
    let after = read();
    for key in ["batch_size", "learning_rate", "warmup_steps"] {
        assert_eq!(before["training"][key], after["training"][key], "{key}");
    }
    assert_ne!(before["training"]["tokens"], after["training"]["tokens"]);
    assert_eq!(after["training"]["extensions"].as_array().unwrap().len(), 1);
    // Without a length, it has the one that it was extended to.
    for length in [&longer[..], &["--resume"]] {
        polymath(at)
            .args(three)
            .args(short)
            .args(length)
            .assert()
            .success()
            .stderr(contains("nothing left to do"));
        assert_eq!(read(), after);
    }
}

/// Checks that an extended run under limits gets a new verdict, and that the earlier verdict is kept beside it.
#[test]
fn an_extended_run_is_judged_anew() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    crate::limits::prepare(at);
    let limits = ["--limits", "5", "evaluation.max_tokens=100000"];
    finetune(at, "limited", &["training.steps=16"])
        .args(limits)
        .assert()
        .code(&[0, 4][..]);
    let run = at.join("runs/limited");
    let first = json(&run.join("limits.json"));
    finetune(at, "limited", &["training.steps=32", "--resume"])
        .args(limits)
        .assert()
        .code(&[0, 4][..]);
    assert_eq!(json(&run.join("limits-step-000016.json")), first);
    assert_ne!(json(&run.join("limits.json")), first);
    assert_eq!(json(&run.join("latest/state.json"))["step"], 32);
    // The report says that it is a run of two parts.
    for (step, said) in [("step-000032", true), ("step-000016", false)] {
        let checkpoint = run.join(step);
        if !checkpoint.is_dir() {
            continue;
        }
        let output = format!("report-{step}");
        polymath(at)
            .args([
                "report",
                "runs/base/best",
                &format!("runs/limited/{step}"),
                "-o",
                &output,
            ])
            .assert()
            .success();
        let text = std::fs::read_to_string(at.join(output).join("report.md")).unwrap();
        assert_eq!(text.contains("extended after step 16"), said, "{step}");
    }
}

const FRONTIER: &str = "output = \"frontier\"\nseeds = [1, 2]\nlimit = 0.5\ninterpolate = []\nmax_tokens = 300\n[shared]\n\
                        base = \"runs/base/best\"\ndataset = \"data\"\ndomain = \"asked\"\nretain = \"data\"\n\
                        [shared.training]\nsteps = 6\nbatch_size = 4\n[shared.evaluation]\nmax_tokens = 500\n[runs.full]\n";

/// Checks that a frontier whose scoring is raised to more tokens does not train again. A change of the runs' length, or
/// of the text on which their best checkpoint was chosen, is refused with the reason.
#[test]
fn a_frontier_is_scored_on_more_tokens_without_training() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    prepare(at);
    write(at, "frontier.toml", FRONTIER);
    let frontier = |settings: &[&str]| {
        let mut command = polymath(at);
        command.args(["frontier", "frontier.toml"]).args(settings);
        command.assert()
    };
    frontier(&[]).success();
    let weights = || {
        let kept = files(&at.join("frontier")).into_iter();
        kept.filter(|(name, _)| name.contains("step-"))
            .collect::<Vec<_>>()
    };
    let (before, scored) = (
        weights(),
        json(&at.join("frontier/full-1/split-scores.json")),
    );
    frontier(&["max_tokens=100000"])
        .success()
        .stderr(contains("scoring frontier/full-1"));
    assert_eq!(weights(), before);
    assert_ne!(json(&at.join("frontier/full-1/split-scores.json")), scored);

    frontier(&["shared.evaluation.max_tokens=600"])
        .code(2)
        .stderr(
            contains("`evaluation.max_tokens` differs; the evaluations chose its best checkpoint")
                .and(contains("can be raised at any time")),
        );
    frontier(&["shared.training.steps=8"])
        .code(2)
        .stderr(contains("`training.steps` differs"));
    // Also where a run was interrupted: to go on would extend it.
    let partial = at.join("frontier/full-2");
    std::fs::remove_dir_all(partial.join("step-000006")).unwrap();
    assert!(partial.join("step-000005").is_dir());
    frontier(&["shared.training.steps=8", "seeds=[2]"])
        .code(2)
        .stderr(contains(
            "was started with another length: `training.steps` differs",
        ));
}
