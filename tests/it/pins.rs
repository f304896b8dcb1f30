//! Tests that a run keeps its inputs (base, tokenizer and data) when their paths change.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use candle_core::Device;
use polymath_data::NoProgress;
use polymath_finetune::{FinetuneConfig, Finetuning};
use polymath_pretrain::{PretrainConfig, Pretraining};
use polymath_train::{Launch, Outcome, Silent};
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;
use serde_json::Value;

use crate::support::fixture::{
    finetune, killable, polymath, prepare, prepare_data, pretrain_other, write,
};

/// Returns the content of every file in a folder and its subfolders, by path.
fn tree(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(folder).unwrap().display().to_string();
            if path.is_symlink() {
                let target = fs::read_link(&path).unwrap();
                found.insert(name, target.display().to_string().into_bytes());
            } else if path.is_dir() {
                found.insert(name, Vec::new());
                folders.push(path);
            } else {
                found.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    found
}

/// Returns the SHA-256 of a checkpoint's files as recorded in its `state.json`.
fn sealed(checkpoint: &Path) -> Value {
    let text = fs::read_to_string(checkpoint.join("state.json")).unwrap();
    serde_json::from_str::<Value>(&text).unwrap()["sha256"].take()
}

/// Replaces the link `name` of a run by one that points to `target`.
fn point(run: &Path, name: &str, target: &Path) {
    let link = run.join(name);
    fs::remove_file(&link).unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink(target, &link).unwrap();
    #[cfg(not(unix))]
    fs::write(&link, target.display().to_string()).unwrap();
}

/// Renames the folder of the run `by` to that of the run `run`, which is moved away.
fn replace(at: &Path, run: &str, by: &str) {
    fs::rename(at.join(run), at.join("runs/away")).unwrap();
    fs::rename(at.join(by), at.join(run)).unwrap();
}

/// Stops a run once it has a checkpoint of step 3, and removes later checkpoints.
fn stop_early(at: &Path, run: &str, settings: &[&str]) {
    let mut command = killable(at);
    command.args(["finetune", "finetune.toml"]);
    command.arg(format!("run=runs/{run}")).args(settings);
    command.args(["checkpoint.every=3", "checkpoint.keep=99"]);
    let mut process = command.spawn().unwrap();
    let begin = std::time::Instant::now();
    let third = at.join(format!("runs/{run}/step-000003/state.json"));
    while !third.exists() {
        assert!(begin.elapsed().as_secs() < 120, "no checkpoint");
        assert!(process.try_wait().unwrap().is_none(), "ended before");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    process.kill().unwrap();
    process.wait().unwrap();
    // A later checkpoint would leave the resumed run nothing to do.
    for entry in fs::read_dir(at.join(format!("runs/{run}"))).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name.starts_with("step-") && *name > *"step-000003" {
            fs::remove_dir_all(path).unwrap();
        }
    }
}

/// Checks that a run resumes from the checkpoint that it began with, to the same bits, although the base's `best` has
/// moved. If that checkpoint is gone or changed, the run refuses and keeps its record.
#[test]
fn a_run_keeps_its_base() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    prepare(at);
    pretrain_other(at);
    finetune(at, "whole", &[]).assert().success();
    stop_early(at, "stopped", &[]);
    let record = fs::read_to_string(at.join("runs/stopped/base.toml")).unwrap();
    assert!(
        record.contains("checkpoint = \"runs/base/step-000030\""),
        "{record}"
    );
    assert_eq!(
        fs::read_to_string(at.join("runs/stopped/step-000003/base.toml")).unwrap(),
        record
    );

    // `best` moves to a checkpoint with other weights.
    let base = at.join("runs/base");
    let other = fs::read_link(at.join("runs/other/best")).unwrap();
    fs::rename(at.join("runs/other").join(other), base.join("step-000099")).unwrap();
    point(&base, "best", Path::new("step-000099"));
    finetune(at, "stopped", &[])
        .arg("--resume")
        .assert()
        .success();
    let latest = |run: &str| sealed(&at.join(format!("runs/{run}/step-000020")));
    assert_eq!(latest("stopped"), latest("whole"));

    // Now the checkpoint itself has changed.
    stop_early(at, "lost", &["base=runs/base/step-000030"]);
    let before = tree(&at.join("runs/lost"));
    let weights = |step: &str| base.join(step).join("model.safetensors");
    fs::copy(weights("step-000099"), weights("step-000030")).unwrap();
    fs::remove_file(base.join("step-000030/state.json")).unwrap();
    let settings = [
        "base=runs/base/step-000030",
        "checkpoint.every=3",
        "checkpoint.keep=99",
    ];
    finetune(at, "lost", &settings)
        .arg("--resume")
        .assert()
        .failure()
        .stderr(contains("the run `runs/lost` was started with the base `runs/base/step-000030`, which has changed since"));
    let after = tree(&at.join("runs/lost"));
    for name in ["base.toml", "run.toml", "step-000003/base.toml"] {
        assert_eq!(before[name], after[name], "{name}");
    }
}

/// Checks that finished runs are not compared with a base or data that they did not start from, and that the error
/// names it.
#[test]
fn finished_runs_are_compared_with_their_own_base() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    prepare(at);
    pretrain_other(at);
    let sweep = "output = \"sweep\"\nseeds = [1]\ninterpolate = []\n[shared]\nbase = \"runs/base/best\"\ndataset = \"data\"\n\
                 domain = \"asked\"\nretain = \"data\"\n[shared.training]\nsteps = 2\nbatch_size = 2\n[shared.evaluation]\n\
                 every = 2\nmax_tokens = 300\n[runs.full]\n";
    write(at, "sweep.toml", sweep);
    let frontier = || {
        let mut command = polymath(at);
        command.args(["frontier", "sweep.toml"]);
        command
    };
    frontier().assert().success();
    let found = tree(&at.join("sweep"));
    replace(at, "runs/base", "runs/other");
    for more in [&[][..], &["--dry-run"]] {
        frontier().args(more).assert().code(2).stderr(
            contains("`sweep/full-1` was started with the base `runs/base/best`")
                .and(contains("has changed since")),
        );
    }
    assert_eq!(tree(&at.join("sweep")), found, "nothing is overwritten");

    // A new run starts from the new base; the finished one did not.
    fs::rename(at.join("runs/base"), at.join("runs/other")).unwrap();
    fs::rename(at.join("runs/away"), at.join("runs/base")).unwrap();
    fs::rename(at.join("runs/other"), at.join("runs/base/step-000099")).unwrap();
    let inner = fs::read_link(at.join("runs/base/step-000099/best")).unwrap();
    let moved = Path::new("step-000099").join(inner);
    point(&at.join("runs/base"), "best", &moved);
    write(
        at,
        "sweep.toml",
        &(sweep.to_owned() + "[runs.slow.training]\nlearning_rate = 1e-5\n"),
    );
    frontier()
        .assert()
        .code(2)
        .stderr(contains("must start from the same base").and(contains("`sweep/slow-1` from")));
    assert!(!at.join("sweep/slow-1").exists());
}

/// Checks that a pretraining saves the tokenizer of its data although the dataset is prepared again meanwhile, and
/// that it ends although the dataset is removed.
#[test]
fn pretraining_survives_the_loss_of_its_dataset() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    prepare_data(at);
    let before = fs::read(at.join("data/tokenizer.json")).unwrap();
    let text = fs::read_to_string(at.join("pretrain.toml")).unwrap();
    for (run, removed) in [("replaced", false), ("removed", true)] {
        let mut config: PretrainConfig = toml::from_str(&text).unwrap();
        config.dataset = at.join("data");
        config.run = at.join(run);
        let pretraining = Pretraining::open(config).unwrap();
        if removed {
            fs::remove_dir_all(at.join("data")).unwrap();
        } else {
            let again = [
                "prepare",
                "prepare.toml",
                "seed=3",
                "tokenizer.vocab_size=280",
            ];
            polymath(at).args(again).arg("--force").assert().success();
            assert_ne!(fs::read(at.join("data/tokenizer.json")).unwrap(), before);
        }
        let outcome = pretraining
            .run(&Launch::on(Device::Cpu), &mut Silent)
            .unwrap();
        assert!(matches!(outcome, Outcome::Finished { .. }));
        if !removed {
            assert_eq!(
                fs::read(at.join(run).join("best/tokenizer.json")).unwrap(),
                before
            );
        }
    }
    let sums = |run: &str| sealed(&at.join(run).join("latest"))["tokenizer.json"].clone();
    assert_ne!(sums("replaced"), sums("removed"), "each has its own");
}

/// Checks that a fine-tuning with limits ends with its verdict although its datasets are removed after its start, and
/// one with new tokens although the folder of the extended base is removed.
#[test]
fn finetuning_survives_the_loss_of_its_datasets() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    prepare(at);
    let text = "base = \"BASE\"\ndataset = \"DATA\"\ndomain = \"asked\"\nretain = \"DATA\"\nrun = \"RUN\"\n\
                [tokenizer]\nadd = [\" you said\"]\n[retention.limits]\ndefault = 0.5\n[training]\nsteps = 4\nbatch_size = 2\n\
                [evaluation]\nevery = 2\nmax_tokens = 3000\n";
    let text = text
        .replace("BASE", at.join("runs/base").to_str().unwrap())
        .replace("DATA", at.join("data").to_str().unwrap())
        .replace("RUN", at.join("runs/limited").to_str().unwrap());
    let config: FinetuneConfig = toml::from_str(&text).unwrap();
    let tuning = Finetuning::open(config, &NoProgress).unwrap();
    fs::remove_dir_all(at.join("data")).unwrap();
    let launch = Launch::on(Device::Cpu);
    let ending = tuning.run(&launch, &mut Silent).unwrap();
    assert!(ending.is_finished());
    let verdict = ending.verdict.unwrap();
    assert_eq!(verdict.domains.len(), 3);
    assert!(at.join("runs/limited/limits.json").is_file());
}

/// Checks that a dry run leaves no files, with new tokens, with raw text, and in a sweep. Only `polymath tokenizer`
/// writes the tokenizer.
#[test]
fn dry_runs_write_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    prepare(at);
    let config = fs::read_to_string(at.join("finetune.toml")).unwrap();
    let texts = config.replace(
        "dataset = \"data\"\ndomain = \"asked\"",
        "texts = [\"raw/asked.jsonl\"]",
    );
    write(at, "texts.toml", &texts);
    let shared = texts
        .replace("run = \"runs/full\"\n", "")
        .replace("[", "[shared.");
    let shared = shared.replace("texts = [shared.", "texts = [");
    let sweep = format!("output = \"sweep\"\n[shared]\n{shared}[runs.full]\n");
    write(at, "sweep.toml", &sweep);
    let tokens = "tokenizer.add=[\" you said\"]";
    let before = tree(at);
    for arguments in [
        &["pretrain", "pretrain.toml", "run=runs/new"][..],
        &["finetune", "finetune.toml", tokens],
        &["finetune", "texts.toml", tokens],
        &["frontier", "sweep.toml"],
    ] {
        polymath(at)
            .args(arguments)
            .arg("--dry-run")
            .assert()
            .success();
        assert!(tree(at) == before, "{arguments:?} left something behind");
    }

    let command = ["tokenizer", "finetune.toml", tokens, "-o", "extended"];
    polymath(at)
        .args(command)
        .assert()
        .success()
        .stdout(contains("extended/tokenizer.json"));
    polymath(at)
        .args(command)
        .assert()
        .code(2)
        .stderr(contains("is already there"));
    let prepare = ["prepare", "prepare.toml", "output=extended-data"];
    let with = [
        "tokenizer.path=extended/tokenizer.json",
        "tokenizer.bos_token=<|endoftext|>",
    ];
    let text = fs::read_to_string(at.join("prepare.toml")).unwrap();
    write(at, "prepare.toml", &text.replace("vocab_size = 300\n", ""));
    polymath(at).args(prepare).args(with).assert().success();
    finetune(
        at,
        "extended",
        &[
            tokens,
            "dataset=extended-data",
            "retain=extended-data",
            "training.steps=2",
        ],
    )
    .assert()
    .success();
    assert_eq!(
        fs::read(at.join("runs/extended/best/tokenizer.json")).unwrap(),
        fs::read(at.join("extended/tokenizer.json")).unwrap()
    );
}
