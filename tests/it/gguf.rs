//! Tests of GGUF files through the binary: exported from a checkpoint and from an adapter, and imported again.
//! Invalid requests are refused.

use std::path::Path;

use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;
use serde_json::Value;

use crate::support::fixture::{finetune, polymath, prepare, succeed, write};

/// Returns the results by which models are compared: bits per byte on the domain `letters`, and the greedy continuation
/// of a prompt.
fn told(at: &Path, checkpoint: &str, dataset: &str) -> (f64, Vec<u8>) {
    let output = polymath(at)
        .args(["evaluate", checkpoint, "--dataset", dataset, "--json"])
        .output()
        .unwrap();
    let value: Value = serde_json::from_slice(&output.stdout).unwrap();
    let bits = &value["domains"]["letters"]["bits_per_byte"];
    let said = polymath(at)
        .args([
            "generate",
            checkpoint,
            "--prompt",
            "12 13",
            "--temperature",
            "0",
        ])
        .args(["--max-tokens", "12"])
        .output()
        .unwrap();
    (bits.as_f64().unwrap(), said.stdout)
}

fn export(at: &Path, checkpoint: &str, file: &str, kind: &str) -> assert_cmd::Command {
    let mut command = polymath(at);
    command.args(["export", checkpoint, "--gguf", file, "--type", kind]);
    command
}

/// Checks that export and import give the same model, also for an adapter, which is merged into its base, and that
/// the imported model can be fine-tuned.
#[test]
fn export_and_import_give_the_same_model() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    prepare(at);
    let lora = ["method=lora", "lora.rank=4"];
    finetune(at, "lora", &lora).assert().success();
    for (run, file, back) in [
        ("runs/base", "base.gguf", "base-back"),
        ("runs/lora", "lora.gguf", "lora-back"),
    ] {
        export(at, run, file, "f32")
            .assert()
            .success()
            .stdout(contains(file));
        polymath(at)
            .args(["import", file, "-o", back])
            .assert()
            .success()
            .stdout(contains(back));
        // The imported tokenizer has the same tokens but another file, so the dataset is prepared for it.
        let data = format!("{back}-data");
        let config = std::fs::read_to_string(at.join("prepare.toml")).unwrap();
        let config = config
            .replace("output = \"data\"", &format!("output = \"{data}\""))
            .replace(
                "vocab_size = 300",
                &format!("path = \"{back}/tokenizer.json\""),
            );
        write(at, "again.toml", &config);
        polymath(at)
            .args(["prepare", "again.toml"])
            .assert()
            .success();
        assert_eq!(told(at, run, "data"), told(at, back, &data));
    }
    assert_ne!(told(at, "runs/base", "data"), told(at, "runs/lora", "data"));
    let settings = [
        "base=base-back",
        "dataset=base-back-data",
        "retain=base-back-data",
        "training.steps=2",
    ];
    finetune(at, "tuned", &settings).assert().success();

    // A model of 36224 numbers in matrices, of 4, 2 or 34/32 bytes each.
    let size = |name: &str| std::fs::metadata(at.join(name)).unwrap().len() as i64;
    for kind in ["f16", "q8_0"] {
        let file = format!("{kind}.gguf");
        export(at, "runs/base", &file, kind).assert().success();
    }
    succeed(at, &["export", "runs/base", "--gguf", "usual.gguf"]);
    assert_eq!(size("base.gguf") - size("f16.gguf"), 2 * 36224);
    assert_eq!(size("usual.gguf"), size("f16.gguf"));
    let saved = size("f16.gguf") - size("q8_0.gguf");
    // Each tensor begins at a multiple of 32 bytes.
    assert!(
        (saved - (2 * 36224 - 36224 * 34 / 32)).abs() < 16 * 32,
        "{saved}"
    );

    export(at, "runs/base", "base.gguf", "f16")
        .assert()
        .code(2)
        .stderr(contains("already there"));
    polymath(at)
        .args(["import", "base.gguf", "-o", "base-back"])
        .assert()
        .code(2)
        .stderr(contains("already there"));
    // The rows of this model are too narrow for blocks of 256.
    export(at, "runs/base", "small.gguf", "q4_k")
        .assert()
        .success()
        .stderr(contains("Q8_0"));
    polymath(at)
        .args(["export", "runs/base"])
        .assert()
        .code(2)
        .stderr(contains("--gguf"));
    // `--type` requires a GGUF file as the output.
    polymath(at)
        .args(["export", "runs/base", "--push", "me/base", "--dry-run"])
        .args(["--type", "f16"])
        .assert()
        .code(2)
        .stderr(contains("--gguf"));
    // `--license` requires a model card.
    export(at, "runs/base", "licensed.gguf", "f16")
        .args(["--license", "mit"])
        .assert()
        .code(2)
        .stderr(contains("--license").and(contains("--card")));
    assert!(!at.join("licensed.gguf").exists());
    export(at, "runs/nothing", "nothing.gguf", "f16")
        .assert()
        .code(2)
        .stderr(contains("runs/nothing"));
    polymath(at)
        .args(["import", "prepare.toml", "-o", "toml-back"])
        .assert()
        .code(2)
        .stderr(contains("`prepare.toml`: is not a GGUF file"));
    assert!(!at.join("toml-back").exists());
}
