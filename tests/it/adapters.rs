//! Tests of LoRA adapters through the binary: trained, resumed, evaluated, compared, continued and merged. A wrong
//! base is refused.

use std::path::Path;

use assert_cmd::Command;
use predicates::str::contains;
use serde_json::Value;

use crate::support::fixture::{PREPARE, PRETRAIN, polymath, succeed};

/// Prepares a base trained on counting, and a niche of letters.
fn prepare(at: &Path) {
    let mut config =
        "output = \"data\"\nheldout_fraction = 0.2\n[tokenizer]\nvocab_size = 280\n".to_owned();
    for name in ["counting", "letters"] {
        let line = |number: u32| match name {
            "counting" => (number..number + 30).map(|n| format!("{n} ")).collect(),
            _ => format!(
                "{} says the {number}th letter ",
                "abc".repeat(number as usize % 9)
            ),
        };
        let text: String = (0..120u32)
            .map(|number| format!("{}\n", serde_json::json!({ "text": line(number) })))
            .collect();
        std::fs::write(at.join(format!("{name}.jsonl")), text).unwrap();
        config += &format!("[domains.{name}]\npaths = [\"{name}.jsonl\"]\n");
    }
    std::fs::write(at.join("prepare.toml"), config).unwrap();
    let rest = "batch_size = 4\nlearning_rate = 1e-2\nsequence_length = 32\n[evaluation]\nevery = 6\nmax_tokens = 300\n";
    std::fs::write(
        at.join("pretrain.toml"),
        format!(
            "dataset = \"data\"\nrun = \"base\"\n[mixture]\ndomains = [\"counting\"]\n[model]\nhidden_size = 32\n\
             num_hidden_layers = 2\nnum_attention_heads = 4\n[training]\nsteps = 12\n{rest}"
        ),
    )
    .unwrap();
    std::fs::write(
        at.join("finetune.toml"),
        format!(
            "base = \"base/best\"\ndataset = \"data\"\ndomain = \"letters\"\nretain = \"data\"\nrun = \"lora\"\n\
             method = \"lora\"\n[training]\nsteps = 12\n{rest}"
        ),
    )
    .unwrap();
    succeed(at, &PREPARE);
    succeed(at, &PRETRAIN);
}

fn finetune(at: &Path, run: &str, settings: &[&str]) -> Command {
    let mut command = polymath(at);
    command.args(["finetune", "finetune.toml"]);
    command.arg(format!("run={run}")).args(settings);
    command
}

fn scores(at: &Path, checkpoint: &[&str]) -> (f64, f64) {
    let output = polymath(at)
        .arg("evaluate")
        .args(checkpoint)
        .args(["--dataset", "data", "--json"])
        .output()
        .unwrap();
    let value: Value = serde_json::from_slice(&output.stdout).unwrap();
    let of = |name: &str| value["domains"][name]["bits_per_byte"].as_f64().unwrap();
    (of("letters"), of("counting"))
}

fn bytes(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap()
}

/// Checks that an adapter learns the niche, leaves the base's file untouched and uncopied, merges to a model with the
/// same scores, resumes to the same bits, and refuses another base.
#[test]
fn adapters_are_trained_resumed_and_merged() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    prepare(at);
    let weights = |run: &str| std::fs::read(at.join(run).join("best/model.safetensors")).unwrap();
    let before = weights("base");
    for (method, name) in [("method=lora", "lora"), ("method=dora", "dora")] {
        let settings = [
            method,
            "lora.rank=4",
            "lora.dropout=0.1",
            "checkpoint.keep=9",
        ];
        finetune(at, name, &settings).assert().success();
        assert!(!at.join(name).join("best/model.safetensors").exists());
        assert!(scores(at, &[name]).0 < scores(at, &["base"]).0);

        // Leaves the folder as if the run had been killed after its sixth step.
        let adapter = || bytes(&at.join(name).join("step-000012/adapter_model.safetensors"));
        let whole = adapter();
        std::fs::remove_dir_all(at.join(name).join("step-000012")).unwrap();
        finetune(at, name, &settings)
            .arg("--resume")
            .assert()
            .success();
        assert!(whole == adapter(), "{name}");

        let merged = format!("{name}-merged");
        let merge = || {
            let mut command = polymath(at);
            command.args(["merge", name, "-o", &merged]);
            command
        };
        merge().assert().success();
        merge().assert().code(2).stderr(contains("already there"));
        assert_eq!(scores(at, &[name]), scores(at, &[&merged]));
    }
    assert_eq!(before, weights("base"));
    polymath(at)
        .args(["generate", "lora", "--max-tokens", "4", "--prompt", "abc"])
        .assert()
        .success();
    polymath(at)
        .args([
            "report",
            "base",
            "lora",
            "dora",
            "--dataset",
            "data",
            "-o",
            "report",
        ])
        .assert()
        .success();
    // The base may be moved, but not replaced by another.
    std::fs::rename(at.join("base"), at.join("moved")).unwrap();
    polymath(at)
        .args(["evaluate", "lora", "--dataset", "data"])
        .assert()
        .failure()
        .stderr(contains("`--base`"));
    let best = std::fs::canonicalize(at.join("moved/best")).unwrap();
    scores(at, &["lora", "--base", best.to_str().unwrap()]);
    polymath(at)
        .args([
            "evaluate",
            "lora",
            "--dataset",
            "data",
            "--base",
            "dora-merged",
        ])
        .assert()
        .failure()
        .stderr(contains("SHA-256"));
}

/// Checks that contradictory adapter settings are refused before the first step, with the key and the choices.
#[test]
fn impossible_adapters_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    prepare(at);
    let cases: [(&[&str], &str); 5] = [
        (&["lora.rank=0"], "`lora.rank` = 0"),
        (&["lora.dropout=1.5"], "`lora.dropout` = 1.5"),
        (&["lora.targets=[\"c_attn\"]"], "`c_attn`"),
        (
            &["method=full", "lora.rank=4"],
            "`[lora]` is given but `method` is `full`",
        ),
        (&["retention.l2sp=0.1"], "`retention.l2sp` pulls"),
    ];
    for (settings, message) in cases {
        finetune(at, "refused", settings)
            .assert()
            .code(2)
            .stderr(contains(message));
        assert!(!at.join("refused").exists());
    }
}
