//! Tests of models and adapters of the hub, through the real client and a local server that implements the hub's HTTP
//! API.

mod downloads;

use std::path::Path;

use assert_cmd::Command;
use predicates::str::contains;

use crate::support::fixture;
use crate::support::served::{COMMIT, Hub, PRIVATE_TOKEN, Trouble, output};

/// Starts a hub that has the base of [`fixture::prepare`] under the name `tester/tiny`.
fn hub_with_base(at: &Path) -> Hub {
    fixture::prepare(at);
    let hub = Hub::start();
    let best = at.join("runs/base/best").canonicalize().unwrap();
    hub.serve_folder("tester/tiny", &best);
    hub
}

/// Checks that a model of the hub is evaluated, continued and tuned like a local folder, also if the hub is
/// unreachable later, and that nothing is downloaded twice.
#[test]
fn hub_models_are_used_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let hub = hub_with_base(at);

    let scores = |command: &mut Command, name: &str| {
        let text = output(command.args(["evaluate", name, "--dataset", "data", "--json"]));
        let scores: serde_json::Value = serde_json::from_str(&text).unwrap();
        scores["domains"].clone()
    };
    let expected = scores(&mut hub.polymath(at), "runs/base/best");
    assert_eq!(scores(&mut hub.polymath(at), "tester/tiny"), expected);
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
    assert_eq!(scores(&mut hub.polymath(at), &pinned), expected);
    assert_eq!(hub.downloads(), downloads, "from the cache");

    let tune = [
        "finetune",
        "finetune.toml",
        "base=tester/tiny",
        "run=tuned",
        "training.steps=2",
    ];
    output(hub.polymath(at).args(tune));
    assert!(at.join("tuned/best/model.safetensors").is_file());

    let continued = |name: &str, (variable, value): (&str, &str)| {
        let prompt = ["generate", name, "--prompt", "1 2", "--max-tokens", "5"];
        output(hub.polymath(at).env(variable, value).args(prompt))
    };
    let offline = continued("tester/tiny", ("HF_HUB_OFFLINE", "1"));
    let unreachable = continued("tester/tiny", ("HF_ENDPOINT", "http://127.0.0.1:9"));
    let local = continued("runs/base", ("HF_HUB_OFFLINE", "0"));
    assert_eq!((&offline, &unreachable), (&local, &local));
}

/// Checks that the base of an adapter is downloaded, that several adapters share one base, and that another base is
/// recognized by its weights.
#[test]
fn adapters_of_the_hub_find_their_base() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let hub = hub_with_base(at);
    let best = |run: &str| at.join(run).join("best").canonicalize().unwrap();
    let lora = [
        "method=lora",
        "lora.rank=2",
        "base=tester/tiny",
        "training.steps=4",
    ];
    for (run, seed) in [("first", "seed=1"), ("second", "seed=2")] {
        let name = format!("run=runs/{run}");
        let mut command = hub.polymath(at);
        output(
            command
                .args(["finetune", "finetune.toml", &name, seed])
                .args(lora),
        );
        hub.serve_folder(&format!("tester/{run}"), &best(&format!("runs/{run}")));
    }
    // Other programs find the base by the name and the commit that the adapter was trained on.
    let config = std::fs::read(best("runs/first").join("adapter_config.json")).unwrap();
    let config: serde_json::Value = serde_json::from_slice(&config).unwrap();
    assert_eq!(config["base_model_name_or_path"], "tester/tiny");
    assert_eq!(config["revision"], COMMIT);

    let elsewhere = |arguments: &[&str]| {
        let mut command = hub.polymath(at);
        command
            .env("HF_HOME", at.join("another-home"))
            .args(arguments);
        command
    };
    let scores = |name: &str, more: &[&str]| {
        let arguments = ["evaluate", name, "--dataset", "data", "--json"];
        output(&mut elsewhere(&[&arguments, more].concat()))
    };
    let (first, second) = (scores("tester/first", &[]), scores("tester/second", &[]));
    assert_ne!(first, second);
    assert_eq!(first, scores("runs/first", &[]));
    assert_eq!(second, scores("tester/second", &["--base", "tester/tiny"]));
    assert_eq!(second, scores("tester/second", &["--base", "runs/base"]));
    let report = [
        "report",
        "tester/tiny",
        "tester/first",
        "--dataset",
        "data",
        "-o",
        "report",
    ];
    output(&mut elsewhere(&report));

    // PEFT saves an adapter without a tokenizer.
    for name in ["adapter_config.json", "adapter_model.safetensors"] {
        let bytes = std::fs::read(best("runs/first").join(name)).unwrap();
        hub.serve_bytes("tester/bare", name, &bytes);
    }
    assert_eq!(first, scores("tester/bare", &[]));

    fixture::pretrain_other(at);
    hub.serve_folder("tester/other", &best("runs/other"));
    for base in ["tester/other", "runs/other"] {
        let mut command = elsewhere(&["generate", "tester/first", "--base", base]);
        command
            .assert()
            .failure()
            .stderr(contains("whose weights have the SHA-256"));
    }
}

/// Checks that every model derived from a hub base keeps the base's tokenizer, its settings, the chat template and
/// the generation settings, byte for byte.
#[test]
fn checkpoints_keep_the_files_beside_the_weights() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let hub = hub_with_base(at);
    let beside = [
        (
            "generation_config.json",
            r#"{"eos_token_id": [0, 5], "temperature": 0.6}"#,
        ),
        (
            "tokenizer_config.json",
            r#"{"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|endoftext|>", "x": 1}"#,
        ),
        (
            "special_tokens_map.json",
            r#"{"eos_token": "<|endoftext|>"}"#,
        ),
        ("added_tokens.json", r#"{"<|extra|>": 300}"#),
        (
            "chat_template.jinja",
            "{% for message in messages %}{{ message.content }}{% endfor %}",
        ),
    ];
    for (name, text) in beside {
        hub.serve_bytes("tester/tiny", name, text.as_bytes());
    }
    let tune = |run: &str, settings: &[&str]| {
        let run = format!("run=runs/{run}");
        let mut command = hub.polymath(at);
        command.args([
            "finetune",
            "finetune.toml",
            "base=tester/tiny",
            "training.steps=2",
            &run,
        ]);
        output(command.args(settings));
    };
    tune("full", &[]);
    tune("frozen", &["method=frozen", "frozen.train_last_layers=1"]);
    tune("lora", &["method=lora"]);
    output(
        hub.polymath(at)
            .args(["merge", "runs/lora", "-o", "merged"]),
    );
    let mixed = [
        "interpolate",
        "tester/tiny",
        "runs/full",
        "-o",
        "mixed",
        "--alphas",
        "0.5",
    ];
    output(hub.polymath(at).args(mixed).args(["--limit", "9"]));
    for made in [
        "runs/full/best",
        "runs/frozen/best",
        "runs/lora/best",
        "merged",
        "mixed",
    ] {
        for (name, text) in beside {
            let found = std::fs::read_to_string(at.join(made).join(name));
            assert_eq!(found.unwrap_or_default(), text, "{made}/{name}");
        }
        assert!(at.join(made).join("tokenizer.json").is_file());
    }
}
