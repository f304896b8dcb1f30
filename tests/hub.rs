//! Models and data sets of the hub, through the real client and a server on loopback that speaks the hub's HTTP.

mod held;
mod served;

use std::path::Path;

use assert_cmd::Command;
use predicates::str::contains;
use served::{COMMIT, Hub, PRIVATE_TOKEN};

/// The command with a cache of its own and the server for a hub.
fn polymath(folder: &Path, hub: &Hub) -> Command {
    let mut command = held::polymath(folder);
    command
        .env("HF_ENDPOINT", hub.address())
        .env("HF_HOME", folder.join("hf-home"))
        .env_remove("HF_HUB_CACHE")
        .env_remove("HF_TOKEN")
        .env_remove("HF_HUB_OFFLINE")
        // A proxy of the machine must not be asked for what is on loopback.
        .env("NO_PROXY", "127.0.0.1");
    command
}

fn output(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// A model of the hub is one's own folder under another name: it is evaluated, continued and tuned alike, also when the
/// hub is out of reach later; nothing is downloaded twice.
#[test]
fn models_of_the_hub_are_used_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    held::prepare(at);
    let hub = Hub::start();
    hub.serve_folder(
        "tester/tiny",
        &at.join("runs/base/best").canonicalize().unwrap(),
    );

    let scores = |command: &mut Command, name: &str| {
        let text = output(command.args(["evaluate", name, "--dataset", "data", "--json"]));
        let scores: serde_json::Value = serde_json::from_str(&text).unwrap();
        scores["domains"].clone()
    };
    let expected = scores(&mut polymath(at, &hub), "runs/base/best");
    assert_eq!(scores(&mut polymath(at, &hub), "tester/tiny"), expected);
    let downloads = hub.downloads();
    assert!(
        downloads
            .iter()
            .any(|path| path.ends_with("model.safetensors"))
    );
    assert!(
        !downloads
            .iter()
            .any(|path| path.ends_with("optimizer.safetensors")),
        "{downloads:?}"
    );
    let pinned = format!("tester/tiny@{COMMIT}");
    assert_eq!(scores(&mut polymath(at, &hub), &pinned), expected);
    assert_eq!(hub.downloads(), downloads, "from the cache");

    let tune = [
        "finetune",
        "finetune.toml",
        "base=tester/tiny",
        "run=tuned",
        "training.steps=2",
    ];
    output(polymath(at, &hub).args(tune));
    assert!(at.join("tuned/best/model.safetensors").is_file());

    let continued = |name: &str, (variable, value): (&str, &str)| {
        let prompt = ["generate", name, "--prompt", "1 2", "--max-tokens", "5"];
        output(polymath(at, &hub).env(variable, value).args(prompt))
    };
    let offline = continued("tester/tiny", ("HF_HUB_OFFLINE", "1"));
    let unreachable = continued("tester/tiny", ("HF_ENDPOINT", "http://127.0.0.1:9"));
    let local = continued("runs/base", ("HF_HUB_OFFLINE", "0"));
    assert_eq!((&offline, &unreachable), (&local, &local));
}

/// What the hub does not give is said in a sentence with the way to mend it, and a mistyped folder asks no hub.
#[test]
fn what_the_hub_does_not_give_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let hub = Hub::start();
    hub.serve_bytes("tester/pickled", "pytorch_model.bin", b"\x80\x02");
    hub.serve_bytes("secret/model", "config.json", b"{}");
    let generate = |name: &str| {
        let mut command = polymath(at, &hub);
        command.args(["generate", name]);
        command
    };
    let refused = |command: &mut Command, message: &str| {
        command.assert().failure().stderr(contains(message));
    };
    refused(
        &mut generate("tester/absent"),
        "there is no folder `tester/absent` here, and",
    );
    refused(&mut generate("tester/pickled"), "safe_serialization=True");
    refused(
        &mut generate("tester/pickled@v9"),
        "name a branch, tag or commit",
    );
    refused(&mut generate("secret/model"), "HF_TOKEN");
    // With the token the repository opens, and what it lacks is said instead.
    refused(
        generate("secret/model").env("HF_TOKEN", PRIVATE_TOKEN),
        "no `config.json` with",
    );
    refused(
        generate("tester/tiny").env("HF_HUB_OFFLINE", "1"),
        "`HF_HUB_OFFLINE` forbids",
    );

    let asked = hub.requests();
    std::fs::create_dir(at.join("runs")).unwrap();
    refused(
        &mut generate("runs/mistyped"),
        "`runs/mistyped`: is not a folder",
    );
    assert_eq!(
        hub.requests(),
        asked,
        "a folder's name is not sent anywhere"
    );
}

/// A data set of the hub is prepared as the same files on disk are, and only its files that fit are read.
#[test]
fn datasets_of_the_hub_are_sources() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let texts = |from: u32| -> String {
        let lines = (from..from + 90).map(|number| {
            let words: Vec<String> = (number..number + 20).map(|n| n.to_string()).collect();
            format!("{}\n", serde_json::json!({ "text": words.join(" ") }))
        });
        lines.collect()
    };
    let hub = Hub::start();
    hub.serve_bytes(
        "datasets/tester/texts",
        "README.md",
        b"a card, no text to learn",
    );
    for (name, from) in [("data/a.jsonl", 0), ("data/b.jsonl", 500)] {
        hub.serve_bytes("datasets/tester/texts", name, texts(from).as_bytes());
        held::write(at, name, &texts(from));
    }
    let fingerprint = |output_folder: &str, path: &str| {
        let config = format!(
            "output = \"{output_folder}\"\nheldout_fraction = 0.2\n[tokenizer]\nvocab_size = 280\n[domains.counting]\npaths = [\"{path}\"]\n"
        );
        held::write(at, "prepare.toml", &config);
        let mut command = polymath(at, &hub);
        output(command.args(["prepare", "prepare.toml"]));
        std::fs::read(at.join(output_folder).join("dataset.json")).unwrap()
    };
    let local = fingerprint("local", "data");
    assert_eq!(fingerprint("whole", "hf://datasets/tester/texts"), local);
    assert_eq!(
        fingerprint("glob", "hf://datasets/tester/texts@main/data/*.jsonl"),
        local
    );
    assert_ne!(
        fingerprint("one", "hf://datasets/tester/texts/data/a.jsonl"),
        local
    );

    for (path, message) in [
        ("hf://tester/texts", "expected `hf://datasets/owner/name"),
        (
            "hf://datasets/tester/texts/*.csv",
            "no file there fits `*.csv`",
        ),
    ] {
        held::write(
            at,
            "wrong.toml",
            &format!("output = \"wrong\"\n[domains.counting]\npaths = [\"{path}\"]\n"),
        );
        let mut command = polymath(at, &hub);
        let assert = command.args(["prepare", "wrong.toml"]).assert().failure();
        assert
            .stderr(contains("domains.counting.paths"))
            .stderr(contains(message));
    }
}
