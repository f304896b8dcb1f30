//! Tests of files that commands may replace, and of their permissions.

use std::fs;
use std::path::Path;

use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;

use crate::support::fixture;
use crate::support::fixture::{polymath, prepare, write, write_corpus};

/// Checks that a dataset is not written into the folder of a model or run or into a foreign folder, and that nothing
/// in it changes.
#[test]
fn datasets_replace_only_datasets() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    prepare(at);
    let model = fs::canonicalize(at.join("runs/base/best")).unwrap();
    let into = |output: &str, more: &[&str]| {
        let mut command = polymath(at);
        command.args(["prepare", "prepare.toml", "tokenizer.vocab_size=290"]);
        command.arg(format!("output={output}")).args(more);
        command.assert()
    };
    let tokenizer = fs::read(model.join("tokenizer.json")).unwrap();
    let output = model.strip_prefix(at.canonicalize().unwrap()).unwrap();
    for more in [&[][..], &["--force"]] {
        into(output.to_str().unwrap(), more)
            .failure()
            .stderr(contains(
                "holds `config.json`, which is of a model or a run",
            ));
        into("runs/base", more)
            .failure()
            .stderr(contains("holds `run.toml`"));
        into("raw", more)
            .failure()
            .stderr(contains("holds files but no dataset"));
    }
    assert_eq!(fs::read(model.join("tokenizer.json")).unwrap(), tokenizer);
    assert!(!at.join("raw/tokenizer.json").exists() && !at.join("raw/.lock").exists());

    // An interrupted dataset is prepared again; one that another process writes to is left alone.
    fs::remove_file(at.join("data/dataset.json")).unwrap();
    let locked = fs::File::options()
        .write(true)
        .open(at.join("data/.lock"))
        .unwrap();
    locked.lock().unwrap();
    into("data", &[])
        .failure()
        .stderr(contains("another process").and(contains("is writing a dataset to it")));
    assert!(!at.join("data/dataset.json").exists());
    drop(locked);
    into("data", &[]).success();
}

/// Checks that of two processes that prepare one folder, one completes it and the other gets an error.
#[test]
fn one_process_prepares_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_corpus(at);
    for round in 0..4 {
        let output = format!("output=both-{round}");
        let start = |seed: &str| {
            let mut command = fixture::killable(at);
            command.args(["prepare", "prepare.toml", &output, seed]);
            command.spawn().unwrap()
        };
        let mut both = [start("seed=1"), start("seed=2")];
        let ended = both.each_mut().map(|process| process.wait().unwrap());
        let done = ended.iter().filter(|status| status.success()).count();
        assert_eq!(done, 1, "{ended:?}");
        let place = format!("both-{round}");
        polymath(at)
            .args(["dataset", "info", &place])
            .assert()
            .success();
    }
}

/// Checks that files have the mode that the umask gives, not that of the libraries' temporary files.
#[cfg(unix)]
#[test]
fn files_have_the_mode_of_the_umask() {
    use std::os::unix::fs::PermissionsExt;

    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_corpus(at);
    let with_umask = |mask: &str, arguments: &str| {
        let program = assert_cmd::cargo::cargo_bin("polymath");
        let script = format!(
            "umask {mask}; exec '{}' --device cpu {arguments}",
            program.display()
        );
        let mut command = assert_cmd::Command::new("sh");
        command
            .current_dir(at)
            .args(["-c", &script])
            .assert()
            .success();
    };
    for (mask, expected) in [("022", 0o644), ("077", 0o600), ("027", 0o640)] {
        let few = "training.steps=2 evaluation.max_tokens=200";
        let retained = "retention.ewc.strength=0.1 retention.ewc.tokens=100 retention.replay=0.25";
        with_umask(mask, &format!("prepare prepare.toml output=data-{mask}"));
        with_umask(
            mask,
            &format!("pretrain pretrain.toml dataset=data-{mask} run=base-{mask} {few}"),
        );
        for (run, more) in [("full", retained), ("lora", "method=lora")] {
            with_umask(
                mask,
                &format!(
                    "finetune finetune.toml base=base-{mask} dataset=data-{mask} retain=data-{mask} run={run}-{mask} {few} {more}"
                ),
            );
        }
        with_umask(mask, &format!("merge lora-{mask} -o merged-{mask}"));
        with_umask(mask, &format!("export base-{mask} --gguf {mask}.gguf"));
        let mut checked = 0;
        let mut folders = vec![at.to_path_buf()];
        while let Some(next) = folders.pop() {
            for entry in fs::read_dir(next).unwrap() {
                let path = entry.unwrap().path();
                let below = path.strip_prefix(at).unwrap().to_string_lossy();
                let of_mask = below.contains(mask);
                let found = fs::symlink_metadata(&path).unwrap();
                if found.is_dir() {
                    folders.push(path);
                } else if found.is_file() && of_mask {
                    let mode = found.permissions().mode() & 0o777;
                    assert_eq!(mode, expected, "{} has {mode:o}", path.display());
                    checked += 1;
                }
            }
        }
        assert!(checked > 30, "{checked}");
    }
}

/// Checks that the items file is created at the end: an error leaves nothing, and an existing file stays.
#[test]
fn items_are_written_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    prepare(at);
    let items = "{\"context\": \"1 2 \", \"choices\": [\"3\", \"x\"], \"answer\": 0}\n";
    write(at, "numbers.jsonl", items);
    write(at, "taken.jsonl", "precious");
    let evaluate = |more: &[&str]| {
        let mut command = polymath(at);
        command.args(["evaluate", "runs/base", "--tasks", "numbers.jsonl"]);
        command.args(more).assert()
    };
    evaluate(&["--items", "taken.jsonl"])
        .code(2)
        .stderr(contains("`taken.jsonl` is already there"));
    assert_eq!(
        fs::read_to_string(at.join("taken.jsonl")).unwrap(),
        "precious"
    );
    evaluate(&["--items", "new.jsonl", "--dataset", "nowhere"]).failure();
    evaluate(&["--items", "new.jsonl", "--context", "0"]).failure();
    assert!(!at.join("new.jsonl").exists());
    evaluate(&["--items", "no/new.jsonl"])
        .code(2)
        .stderr(contains("there is no folder `no`"));
    evaluate(&["--items", "new.jsonl"]).success();
    assert_eq!(
        fs::read_to_string(at.join("new.jsonl"))
            .unwrap()
            .lines()
            .count(),
        1
    );
}

/// Checks that a report replaces a report, and that a foreign file of the same name is refused before scoring and
/// kept.
#[test]
fn reports_replace_only_reports() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    prepare(at);
    let forget = |output: &str| {
        let mut command = polymath(at);
        command.args([
            "report",
            "runs/base",
            "runs/base",
            "--dataset",
            "data",
            "--niche",
            "asked",
        ]);
        command.args(["--max-tokens", "200", "-o", output]).assert()
    };
    write(at, "mine/report.md", "precious");
    forget("mine")
        .code(2)
        .stderr(contains("`mine/report.md` exists"));
    assert_eq!(
        fs::read_to_string(at.join("mine/report.md")).unwrap(),
        "precious"
    );
    forget("report").success();
    forget("report").success();
    let demo = |output: &str| {
        let mut command = polymath(at);
        command.args([
            "demo",
            "--megabytes",
            "1",
            "--steps",
            "1",
            "--output",
            output,
        ]);
        command.assert()
    };
    let before = fs::read(at.join("prepare.toml")).unwrap();
    demo(".")
        .code(2)
        .stderr(contains("`./prepare.toml` exists"));
    assert_eq!(fs::read(at.join("prepare.toml")).unwrap(), before);
    assert!(!Path::new("raw/literature.jsonl").exists());
}
