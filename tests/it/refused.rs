//! Tests of requests that are refused with a message before any work: counts of zero, runs that do not fit into
//! memory, weights that are not finite. Unused parts of a model folder are reported.

use std::path::Path;

use assert_cmd::Command;
use candle_core::{Device, Tensor};
use predicates::str::contains;
use serde_json::Value;

use crate::support::fixture::{copy_of_base, finetune, polymath, prepare, prepare_data, succeed};

fn refuses(command: &mut Command, said: &[&str]) {
    let mut refused = command.assert().failure();
    for said in said {
        refused = refused.stderr(contains(*said));
    }
}

/// Checks that the error for a count of zero names it and the expected values.
#[test]
fn counts_of_zero_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [
        &["evaluate", "m", "--stride", "0"][..],
        &["evaluate", "m", "--max-tokens", "0"],
        &["evaluate", "m", "--context", "0"],
        &["generate", "m", "--max-tokens", "0"],
        &["generate", "m", "--top-k", "0"],
        &["report", "a", "b", "-o", "c", "--stride", "0"],
        &["bench", "c.toml", "--steps", "0"],
    ] {
        let option = arguments[arguments.len() - 2];
        refuses(
            polymath(folder.path()).args(arguments),
            &[option, "expected a whole number of at least 1"],
        );
    }
}

/// Checks that a path without a model folder is described: a circular link, a dangling link, a missing path, or a
/// file.
#[cfg(unix)]
#[test]
fn paths_without_a_model_are_described() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    std::os::unix::fs::symlink("round", at.join("round")).unwrap();
    std::os::unix::fs::symlink("nowhere", at.join("dangling")).unwrap();
    std::fs::write(at.join("file"), "").unwrap();
    for (path, said) in [
        (
            "round",
            "`round`: is a link to `round`, which can't be followed: Too many levels",
        ),
        (
            "./round/model",
            "`./round/model`: can't be opened: Too many levels",
        ),
        (
            "dangling",
            "`dangling`: is a link to `nowhere`, which can't be followed: No such file",
        ),
        (
            "./missing",
            "`./missing`: is not there: expected a checkpoint",
        ),
        ("file", "`file`: is not a folder: expected a checkpoint"),
    ] {
        refuses(
            polymath(at).args(["generate", path, "--prompt", "a"]),
            &[said],
        );
    }
}

/// Checks that sizes beyond their bounds, a warmup longer than the run, and runs that need more memory than available
/// are refused, both at the start and in a dry run.
#[test]
fn runs_that_do_not_fit_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    prepare_data(at);
    for (settings, said) in [
        (
            &["model.num_hidden_layers=1000000000000"][..],
            "`model.num_hidden_layers` is 1000000000000",
        ),
        (
            &["model.hidden_size=4000000000000000000"],
            "`model.hidden_size` is",
        ),
        (
            &["model.max_position_embeddings=1000000000000"],
            "`model.max_position_embeddings` is",
        ),
        (&["model.rope_theta=-1.0"], "`rope_theta` is -1"),
        (&["model.rms_norm_eps=-1.0"], "`rms_norm_eps` is -1"),
        (
            &["training.batch_size=4000000000000000000"],
            "`training.batch_size` =",
        ),
        (
            &["training.warmup_steps=31"],
            "`training.warmup_steps` = `31` is longer than the run of 30 steps",
        ),
        (
            &[
                "model.hidden_size=32768",
                "model.num_hidden_layers=100",
                "model.num_attention_heads=128",
            ],
            "make the model smaller (`model.hidden_size`, `model.num_hidden_layers`",
        ),
    ] {
        for dry in [&["--dry-run"][..], &[]] {
            let mut command = polymath(at);
            command
                .args(["pretrain", "pretrain.toml"])
                .args(settings)
                .args(dry);
            refuses(&mut command, &[said]);
        }
    }
    // The activations alone are too large; the error names the keys that reduce them.
    let many = [
        "training.batch_size=1000000",
        "training.sequence_length=20000",
    ];
    let mut command = polymath(at);
    command.args(["pretrain", "pretrain.toml"]).args(many);
    refuses(
        &mut command,
        &["MB are available", "`training.accumulation_steps`"],
    );
    assert!(!at.join("runs/base").exists(), "nothing was begun");
    // The dry run prints the plan all the same.
    let mut command = polymath(at);
    command
        .args(["pretrain", "pretrain.toml", "--dry-run"])
        .args(many);
    command
        .assert()
        .failure()
        .stdout(contains("MB  of activations"));
}

/// Checks that a run whose weights overflow ends with an error and keeps the previous checkpoint as the latest.
#[test]
fn infinite_weights_are_not_saved() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    prepare_data(at);
    let mut command = polymath(at);
    command.args([
        "pretrain",
        "pretrain.toml",
        "training.learning_rate=1e39",
        "training.warmup_steps=0",
    ]);
    command.args(["checkpoint.every=1"]);
    refuses(&mut command, &["diverged"]);
    assert!(!at.join("runs/base/latest").exists());
    assert!(!at.join("runs/base/step-000001").exists());
}

fn change_weights(model: &Path, change: impl Fn(&mut std::collections::HashMap<String, Tensor>)) {
    let path = model.join("model.safetensors");
    let mut tensors = candle_core::safetensors::load(&path, &Device::Cpu).unwrap();
    change(&mut tensors);
    candle_core::safetensors::save(&tensors, &path).unwrap();
}

/// Checks that every command that reads a model with a NaN weight names the weight and its file, and that commands
/// report unused parts and unknown keys of the model.
#[test]
fn invalid_weights_and_unused_parts_are_reported() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    prepare(at);
    let name = "model.layers.1.mlp.down_proj.weight";
    let model = copy_of_base(at, "broken");
    change_weights(&model, |tensors| {
        let broken = (&tensors[name] * f64::NAN).unwrap();
        tensors.insert(name.into(), broken);
    });
    let broken = "base=broken";
    for command in [
        polymath(at).args(["generate", "broken", "--prompt", "1 2"]),
        polymath(at).args(["evaluate", "broken", "--dataset", "data"]),
        polymath(at).args([
            "report",
            "runs/base",
            "broken",
            "--dataset",
            "data",
            "-o",
            "page",
        ]),
        polymath(at).args(["export", "broken", "--gguf", "broken.gguf"]),
        &mut finetune(at, "on-broken", &[broken]),
        &mut finetune(at, "lora-on-broken", &[broken, "method=lora"]),
    ] {
        refuses(command, &[name, "model.safetensors", "NaN or infinite"]);
    }
    let model = copy_of_base(at, "passengers");
    change_weights(&model, |tensors| {
        let norm = tensors["model.norm.weight"].clone();
        tensors.insert("score.weight".into(), norm);
    });
    let path = model.join("config.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let mut config: Value = serde_json::from_str(&text).unwrap();
    config["heads_of_hydra"] = 9.into();
    std::fs::write(&path, config.to_string()).unwrap();
    let said = ["`score.weight`", "`heads_of_hydra` = 9"];
    for command in [
        polymath(at).args([
            "generate",
            "passengers",
            "--prompt",
            "1 2",
            "--max-tokens",
            "2",
        ]),
        polymath(at).args(["evaluate", "passengers", "--dataset", "data"]),
        &mut finetune(
            at,
            "on-passengers",
            &["base=passengers", "training.steps=2"],
        ),
    ] {
        let mut done = command.assert().success();
        for said in said {
            done = done.stderr(contains(said));
        }
    }
}

/// Checks that two datasets with other documents in domains of one name are refused, since only the first of them would
/// be scored, and that the same documents in two datasets are one domain.
#[test]
fn domains_of_one_name_must_be_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    prepare(at);
    let tokenizer = "tokenizer={path=\"data/tokenizer.json\"}";
    let other = "domains={letters={paths=[\"raw/asked.jsonl\"]}}";
    succeed(at, &["prepare", "prepare.toml", "output=again"]);
    succeed(
        at,
        &["prepare", "prepare.toml", "output=other", tokenizer, other],
    );
    let evaluate = ["evaluate", "runs/base"];
    let report = ["report", "runs/base", "runs/base", "-o", "report"];
    for command in [&evaluate[..], &report] {
        let with = |second: &str| {
            let mut command_line = polymath(at);
            command_line.args(command);
            command_line.args(["--dataset", "data", "--dataset", second]);
            command_line
        };
        with("again").assert().success();
        refuses(
            &mut with("other"),
            &["`data` and `other` both have a domain `letters`, with other held-out documents"],
        );
        // A context beyond the model's is refused with the one to give.
        refuses(
            with("again").args(["--context", "49"]),
            &["reads at most 48 tokens, and the context is 49: give `--context 48`"],
        );
    }
}

/// Checks that keys of a domain that affect none of its documents are named.
#[test]
fn keys_without_effect_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    std::fs::create_dir(at.join("texts")).unwrap();
    for number in 0..20 {
        let text = format!("Text number {number} is here.\n===\nAnd more of {number}.\n");
        std::fs::write(at.join(format!("texts/{number}.txt")), text).unwrap();
    }
    let config =
        "output = \"data\"\n[tokenizer]\nvocab_size = 300\n[domains.x]\npaths = [\"texts\"]\n";
    std::fs::write(at.join("prepare.toml"), config).unwrap();
    let prepared = |key: &str, output: &str| {
        let settings = [format!("output={output}"), format!("domains.x.{key}")];
        let mut command = polymath(at);
        command.args(["prepare", "prepare.toml"]).args(settings);
        command.assert().success()
    };
    prepared("separator=\"---\"", "absent").stderr(contains(
        "domain `x`: its text files do not contain the separator \"---\"",
    ));
    prepared("longest_conversation=9", "plain")
        .stderr(contains("domain `x`: `longest_conversation` has no effect"));
    let told = prepared("separator=\"===\"", "split");
    let said = String::from_utf8(told.get_output().stderr.clone()).unwrap();
    assert!(!said.contains("separator"), "{said}");
}

/// Checks that a retained domain whose held-out text is learned by the niche is named at the start, and no other.
#[test]
fn a_text_that_is_learned_and_retained_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    prepare(at);
    let tuned = |texts: &str, run: &str| {
        let settings = ["base=runs/base", "retain=data", "training.steps=1"];
        let mut command = polymath(at);
        command.arg("finetune").args(settings);
        command.args([
            format!("texts=[\"raw/{texts}.jsonl\"]"),
            format!("run=runs/{run}"),
        ]);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        let told = said
            .lines()
            .filter(|line| line.contains("in the text of the niche"));
        told.map(str::to_owned).collect::<Vec<String>>()
    };
    let told = tuned("letters", "letters");
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].contains("held-out groups of `letters` also in the text"),
        "{told:?}"
    );
    let lines = std::fs::read_to_string(at.join("raw/letters.jsonl")).unwrap();
    std::fs::write(at.join("raw/other.jsonl"), lines.replace("bcd", "xyz")).unwrap();
    assert_eq!(tuned("other", "other"), [""; 0]);
}

/// Checks that questions which are too long for a model are counted, and the first one quoted with its dataset and
/// domain, before any model is scored.
#[test]
fn long_questions_are_refused_before_scoring() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    prepare(at);
    let question = |prompt: &str| serde_json::json!({ "prompt": prompt, "answer": "b" });
    let long = question(&"ab ".repeat(90));
    let lines = format!("{}\n{long}\n{long}\n", question("a"));
    std::fs::write(at.join("questions.jsonl"), lines).unwrap();
    let asked = "domains.letters.questions=\"questions.jsonl\"";
    succeed(at, &["prepare", "prepare.toml", "output=asked", asked]);
    let said = [
        "`asked`, domain `letters`, for `runs/base",
        "2 of 3 questions too long for the model's context of 48 tokens; the first is number 2",
        "remove them from its `questions`",
    ];
    for command in [
        &["evaluate", "runs/base"][..],
        &["report", "runs/base", "runs/base", "-o", "report"],
    ] {
        let mut command_line = polymath(at);
        command_line.args(command).args(["--dataset", "asked"]);
        let output = command_line.output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success());
        for part in said {
            assert!(error.contains(part), "{error}");
        }
        assert!(!error.contains("bits per byte"), "{error}");
    }
}
