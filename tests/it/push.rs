//! Tests that push checkpoints to the hub with their model cards, through the real client with its chunked store, to
//! a local server.

mod cards;

use std::path::Path;

use assert_cmd::Command;
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;

use crate::support::fixture;
use crate::support::served::{COMMIT, Hub, PRIVATE_TOKEN, Trouble, output};

fn export(hub: &Hub, at: &Path, arguments: &[&str]) -> Command {
    let mut command = hub.polymath(at);
    command
        .env("HF_TOKEN", PRIVATE_TOKEN)
        .arg("export")
        .args(arguments);
    command
}

fn names(hub: &Hub, repository: &str) -> Vec<String> {
    let files = hub.files(repository).unwrap_or_default();
    files.into_keys().collect()
}

fn card(hub: &Hub, repository: &str) -> String {
    String::from_utf8(hub.files(repository).unwrap()["README.md"].clone()).unwrap()
}

/// Returns the list of the files of a checkpoint that `tester/tuned` gets, and of a card of this length.
fn listed(folder: &Path, gets: &str, card: usize) -> String {
    let files = [
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ];
    let size = |name: &str| std::fs::metadata(folder.join(name)).unwrap().len() as f64;
    let mut text = format!("`tester/tuned` {gets}:\n");
    for name in files {
        text += &format!("  {name:32} {:>10.3} MB\n", size(name) / 1e6);
    }
    text + &format!("  {:32} {:>10.3} MB\n", "README.md", card as f64 / 1e6)
}

/// Writes the forgetting report of `runs/tuned` against `runs/base` to the folder `report`.
fn report_forgetting(at: &Path) {
    let forget = [
        "report",
        "runs/base",
        "runs/tuned",
        "--dataset",
        "data",
        "-o",
        "report",
    ];
    output(fixture::polymath(at).args(forget));
}

/// Checks that a pushed model is as on disk, without the run's state, and that its download is the same model. Its
/// card contains the facts of the run and the report. A second push keeps the existing card unless another is given.
#[test]
fn models_are_pushed_with_a_card() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    fixture::prepare(at);
    let hub = Hub::start();
    let settings = ["training.steps=4", "evaluation.every=2"];
    fixture::finetune(at, "tuned", &settings).assert().success();
    report_forgetting(at);

    let place = ["runs/tuned", "--push", "tester/tuned", "--report", "report"];
    let more = ["--private", "--license", "mit"];
    let dry = ["--dry-run", "--gguf", "tuned.gguf"];
    let tried = export(&hub, at, &place)
        .args(more)
        .args(dry)
        .assert()
        .success();
    let shown = String::from_utf8(tried.get_output().stdout.clone()).unwrap();
    assert_eq!(hub.requests(), 0, "nothing is sent");
    assert!(!at.join("tuned.gguf").exists(), "nothing is written");
    let sent = export(&hub, at, &place).args(more).assert().success();
    let url = format!("http://hub/tester/tuned/commit/{COMMIT}\n");
    assert_eq!(String::from_utf8_lossy(&sent.get_output().stdout), url);
    for (ended, gets) in [(&tried, "would get"), (&sent, "gets")] {
        let told = String::from_utf8(ended.get_output().stderr.clone()).unwrap();
        let files = listed(&at.join("runs/tuned/best"), gets, shown.len());
        assert!(told.starts_with(&files), "{told}");
    }
    assert!(hub.is_private("tester/tuned"));
    assert_eq!(
        names(&hub, "tester/tuned"),
        [
            "README.md",
            "config.json",
            "generation_config.json",
            "model.safetensors",
            "tokenizer.json",
            "tokenizer_config.json"
        ]
    );
    let best = at.join("runs/tuned/best");
    let mut pushed = hub.files("tester/tuned").unwrap();
    let readme = String::from_utf8(pushed.remove("README.md").unwrap()).unwrap();
    assert_eq!(readme, shown);
    for (name, bytes) in pushed {
        assert!(bytes == std::fs::read(best.join(&name)).unwrap(), "{name}");
    }
    for part in [
        "---\nlicense: mit\nlibrary_name: transformers\npipeline_tag: text-generation\ntags:\n",
        "model-index:",
        "bits_per_byte",
        "fine-tuned (full) from `runs/base/best` on *asked*",
        "| asked | niche |",
        "| counting | retained |",
        "| **asked** (niche) |",
        "| domain | base | tuned | change |",
        "AutoModelForCausalLM.from_pretrained(\"tester/tuned\")",
        "polymath finetune run.toml",
        "learning_rate = 0.01",
    ] {
        assert!(readme.contains(part), "{part}\n{readme}");
    }
    let here = at.to_str().unwrap();
    assert!(!readme.contains(here), "no place of this machine");

    let scores = |name: &str| {
        let mut command = hub.polymath(at);
        output(command.args(["evaluate", name, "--dataset", "data", "--json"]))
    };
    assert_eq!(scores("tester/tuned"), scores("runs/tuned"));

    fixture::write(at, "mine.md", "my own words");
    let again = ["runs/tuned", "--push", "tester/tuned"];
    export(&hub, at, &again)
        .assert()
        .success()
        .stderr(contains("was left as it is"));
    assert_eq!(card(&hub, "tester/tuned"), readme);
    let state = [
        "--card",
        "mine.md",
        "--with-state",
        "--message",
        "With its state",
    ];
    output(export(&hub, at, &again).args(state));
    assert_eq!(card(&hub, "tester/tuned"), "my own words");
    for file in ["optimizer.safetensors", "state.json"] {
        assert!(
            names(&hub, "tester/tuned").contains(&file.to_owned()),
            "{file}"
        );
    }
    let usual = "A checkpoint, pushed by Polymath";
    let messages = [usual, usual, "With its state"];
    let commits = messages.map(|message| ("tester/tuned".to_owned(), message.to_owned()));
    assert_eq!(hub.commits(), commits);

    // Pushing to a new branch creates it and leaves `main` unchanged.
    let branch = [
        "runs/base",
        "--push",
        "tester/tuned",
        "--revision",
        "before",
        "--card",
        "mine.md",
    ];
    output(&mut export(&hub, at, &branch));
    let weights = |key: &str| hub.files(key).unwrap()["model.safetensors"].clone();
    let ours = |run: &str| std::fs::read(at.join(run).join("best/model.safetensors")).unwrap();
    assert!(weights("tester/tuned@before") == ours("runs/base"));
    assert!(weights("tester/tuned") == ours("runs/tuned"));
    assert!(ours("runs/base") != ours("runs/tuned"));

    // An existing card on the branch is kept, even if `main` has another one.
    let apart = ["runs/base", "--push", "tester/apart", "--revision", "first"];
    output(&mut export(&hub, at, &apart));
    assert!(names(&hub, "tester/apart").is_empty());
    let again = export(&hub, at, &apart).assert().success();
    again.stderr(contains("was left as it is"));
}

/// Checks that a card can be written to a file for inspection, but not over an existing one, and that the report of
/// another run is refused.
#[test]
fn cards_are_written_alone() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    fixture::prepare(at);
    let hub = Hub::start();
    let refused = |arguments: &[&str], message: &str| {
        let mut command = export(&hub, at, arguments);
        command.assert().code(2).stderr(contains(message));
    };
    output(&mut export(&hub, at, &["runs/base", "--card", "card.md"]));
    let card = std::fs::read_to_string(at.join("card.md")).unwrap();
    for part in [
        "# base\n",
        "| counting | 74.0 % of the training tokens |",
        "| asked | not trained on |",
        "## Scores",
        "polymath pretrain run.toml",
        "hidden_size = 32",
        "tokenizer.bos_token + prompt",
        "from_pretrained(\"runs/base/best\")",
    ] {
        assert!(card.contains(part), "{part}\n{card}");
    }
    refused(&["runs/base", "--card", "card.md"], "is already there");
    refused(&["runs/base"], "--push");
    refused(&["runs/base", "--card", "x.md", "--private"], "--push");
    refused(
        &["runs/base", "--push", "a/b/c"],
        "expected `--push owner/name`",
    );
    fixture::finetune(at, "tuned", &["training.steps=2"])
        .assert()
        .success();
    report_forgetting(at);
    refused(
        &["runs/base", "--card", "x.md", "--report", "report"],
        "has no entry for",
    );
    fixture::write(at, "old/report.json", "{\"schema\": 1}");
    refused(
        &["runs/tuned", "--card", "x.md", "--report", "old"],
        "create it again with `polymath report`",
    );
    assert_eq!(hub.requests(), 0);
}

/// Checks that a failed push reports which files were sent and which were not, and that none of them appears in the
/// repository.
#[test]
fn failed_pushes_report_the_sent_files() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    fixture::prepare(at);
    let hub = Hub::start();
    let push = ["runs/base", "--push", "tester/base"];
    let fails = |message: &str| {
        let assert = export(&hub, at, &push).assert().code(1);
        assert.stderr(contains(message).and(contains("`tester/base` can't be pushed to")));
    };
    let mut stranger = export(&hub, at, &push);
    stranger
        .env("HF_TOKEN", "hf_of_nobody")
        .assert()
        .code(1)
        .stderr(contains("`HF_TOKEN`").and(contains("nothing was sent")));
    let mut offline = export(&hub, at, &push);
    let assert = offline.env("HF_HUB_OFFLINE", "1").assert().code(1);
    assert.stderr(contains("`HF_HUB_OFFLINE` forbids"));
    assert_eq!(hub.files("tester/base"), None);

    hub.trouble("POST /cas/v1/xorbs", Trouble::Status("403 Forbidden"), 100);
    fails("MB had been sent. None of the 6 files is in the repository");
    assert!(names(&hub, "tester/base").is_empty());
    hub.repair();
    hub.trouble("/commit/", Trouble::Status("403 Forbidden"), 100);
    fails(
        "the content of all large files had been sent, the commit with the small ones was refused",
    );
    assert!(names(&hub, "tester/base").is_empty());
    hub.repair();
    // A single failure is retried.
    hub.trouble("/commit/", Trouble::Status("503 Service Unavailable"), 1);
    output(&mut export(&hub, at, &push));
    assert_eq!(names(&hub, "tester/base").len(), 6);

    let private = ["runs/base", "--push", "tester/base", "--private"];
    let assert = export(&hub, at, &private).assert().code(1);
    assert.stderr(contains("exists already and is public"));
}

/// Checks that an adapter is pushed only with a base that others can download: the base must be named, and be the one
/// that it was trained on.
#[test]
fn adapters_are_pushed_over_a_base_of_the_hub() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    fixture::prepare(at);
    let hub = Hub::start();
    let settings = ["method=lora", "lora.rank=2", "training.steps=2"];
    fixture::finetune(at, "lora", &settings).assert().success();
    let push = ["runs/lora", "--push", "tester/lora"];
    let alone = export(&hub, at, &push).assert().code(2);
    alone.stderr(contains(
        "which exists only on this machine: push that base first",
    ));
    output(&mut export(
        &hub,
        at,
        &["runs/base", "--push", "tester/base", "--license", "mit"],
    ));
    fixture::pretrain_other(at);
    output(&mut export(
        &hub,
        at,
        &["runs/other", "--push", "tester/other"],
    ));
    let wrong = export(&hub, at, &push)
        .args(["--base", "tester/other"])
        .assert()
        .code(2);
    wrong.stderr(contains("whose weights have the SHA-256"));
    assert_eq!(hub.files("tester/lora"), None);

    output(export(&hub, at, &push).args(["--base", "tester/base"]));
    let pushed = hub.files("tester/lora").unwrap();
    let config: serde_json::Value = serde_json::from_slice(&pushed["adapter_config.json"]).unwrap();
    assert_eq!(config["base_model_name_or_path"], "tester/base");
    assert!(pushed.contains_key("adapter_model.safetensors"));
    assert!(!pushed.contains_key("optimizer.safetensors"));
    let readme = card(&hub, "tester/lora");
    for part in [
        "license: mit\nbase_model: tester/base\nbase_model_relation: adapter\nlibrary_name: peft\n",
        "A LoRA adapter of rank 2",
        "AutoPeftModelForCausalLM.from_pretrained(\"tester/lora\")",
    ] {
        assert!(readme.contains(part), "{part}\n{readme}");
    }
    let scores = |home: &str, name: &str| {
        let mut command = hub.polymath(at);
        command.env("HF_HOME", at.join(home));
        output(command.args(["evaluate", name, "--dataset", "data", "--json"]))
    };
    assert_eq!(
        scores("another-home", "tester/lora"),
        scores("hf-home", "runs/lora")
    );
}

/// Checks that the files are listed before they are sent, and that a link out of the folder is refused and nothing is
/// sent.
#[cfg(unix)]
#[test]
fn links_are_not_followed_out() {
    use std::os::unix::fs::symlink;

    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    fixture::prepare(at);
    let hub = Hub::start();
    fixture::write(at, "secret", "the key of this machine");
    let best = at.join("runs/base/best");
    let push = ["runs/base", "--push", "tester/base"];
    for name in ["notes.txt", "README.md"] {
        symlink(at.join("secret"), best.join(name)).unwrap();
        for more in [&[][..], &["--dry-run"]] {
            export(&hub, at, &push).args(more).assert().code(2).stderr(
                contains(format!("{name}` is a link to")).and(contains("outside of the folder")),
            );
        }
        std::fs::remove_file(best.join(name)).unwrap();
    }
    assert_eq!(hub.requests(), 0, "nothing is sent");
    // A link within the folder counts as the file that it leads to.
    symlink("config.json", best.join("same.json")).unwrap();
    export(&hub, at, &push)
        .assert()
        .success()
        .stderr(contains("`tester/base` gets:").and(contains("same.json")));
    let files = hub.files("tester/base").unwrap();
    assert_eq!(files["same.json"], files["config.json"]);
}
