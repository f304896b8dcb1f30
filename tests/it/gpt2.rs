//! Tests of a GPT-2 through the binary: trained, resumed, compared, continued and interpolated. Its files keep
//! GPT-2's format.

use std::collections::BTreeMap;
use std::path::Path;

use predicates::str::contains;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde_json::{Value, json};

use crate::support::fixture::{finetune, polymath, prepare_data, write};

const WIDTH: usize = 24;
const POSITIONS: usize = 48;
const LAYERS: usize = 2;

/// Returns the tensor names and shapes of a GPT-2's weights file as published on the hub: without the prefix
/// `transformer.`.
fn shapes(vocabulary: usize) -> Vec<(String, Vec<usize>)> {
    let mut shapes = vec![
        ("wte.weight".to_owned(), vec![vocabulary, WIDTH]),
        ("wpe.weight".to_owned(), vec![POSITIONS, WIDTH]),
        ("ln_f.weight".to_owned(), vec![WIDTH]),
        ("ln_f.bias".to_owned(), vec![WIDTH]),
    ];
    for layer in 0..LAYERS {
        for (part, inputs, outputs) in [
            ("attn.c_attn", WIDTH, 3 * WIDTH),
            ("attn.c_proj", WIDTH, WIDTH),
            ("mlp.c_fc", WIDTH, 4 * WIDTH),
            ("mlp.c_proj", 4 * WIDTH, WIDTH),
        ] {
            shapes.push((format!("h.{layer}.{part}.weight"), vec![inputs, outputs]));
            shapes.push((format!("h.{layer}.{part}.bias"), vec![outputs]));
        }
        for part in ["ln_1", "ln_2"] {
            shapes.push((format!("h.{layer}.{part}.weight"), vec![WIDTH]));
            shapes.push((format!("h.{layer}.{part}.bias"), vec![WIDTH]));
        }
    }
    shapes
}

/// Writes an untrained GPT-2 with the dataset's tokenizer.
fn write_base(at: &Path) {
    let manifest = std::fs::read_to_string(at.join("data/dataset.json")).unwrap();
    let tokenizer = serde_json::from_str::<Value>(&manifest).unwrap()["tokenizer"].clone();
    let vocabulary = tokenizer["vocab_size"].as_u64().unwrap() as usize;
    let config = json!({
        "model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "vocab_size": vocabulary, "n_positions": POSITIONS,
        "n_embd": WIDTH, "n_layer": LAYERS, "n_head": 4, "activation_function": "gelu_new",
        "layer_norm_epsilon": 1e-5, "resid_pdrop": 0.1, "bos_token_id": tokenizer["bos_token_id"],
        "eos_token_id": tokenizer["eos_token_id"],
    });
    write(at, "gpt2/config.json", &config.to_string());
    std::fs::copy(
        at.join("data/tokenizer.json"),
        at.join("gpt2/tokenizer.json"),
    )
    .unwrap();
    let mut state = 3u64;
    let mut number = |name: &str| -> f32 {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        match (name.contains("ln_"), name.ends_with("bias")) {
            (_, true) => 0.0,
            (true, false) => 1.0,
            (false, false) => 0.2 * ((state >> 40) as f32 / (1 << 23) as f32 - 1.0),
        }
    };
    let bytes: Vec<(String, Vec<usize>, Vec<u8>)> = shapes(vocabulary)
        .into_iter()
        .map(|(name, shape)| {
            let values = (0..shape.iter().product()).map(|_| number(&name).to_le_bytes());
            let bytes = values.flatten().collect();
            (name, shape, bytes)
        })
        .collect();
    let views = bytes.iter().map(|(name, shape, bytes)| {
        let view = TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap();
        (name.as_str(), view)
    });
    safetensors::serialize_to_file(views, None, &at.join("gpt2/model.safetensors")).unwrap();
}

/// Prepares the dataset, and a GPT-2 with its tokenizer.
fn prepare(at: &Path) {
    prepare_data(at);
    write_base(at);
}

/// Returns the tensors of a model folder by name, without the prefix `transformer.`.
fn tensors(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let bytes = std::fs::read(folder.join("model.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let named = file.tensors().into_iter();
    named
        .map(|(name, view)| {
            let name = name.strip_prefix("transformer.").unwrap_or(&name);
            (name.to_owned(), view.data().to_vec())
        })
        .collect()
}

fn bits_per_byte(at: &Path, model: &str, domain: &str) -> f64 {
    let output = polymath(at)
        .args(["evaluate", model, "--dataset", "data", "--json"])
        .output()
        .unwrap();
    let scores: Value = serde_json::from_slice(&output.stdout).unwrap();
    scores["domains"][domain]["bits_per_byte"].as_f64().unwrap()
}

/// Checks that finetune (full, frozen, the head alone), evaluate, generate, report and interpolate work on a GPT-2 as
/// on any other base.
#[test]
fn a_gpt2_is_tuned_and_keeps_its_format() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    prepare(at);
    let before = tensors(&at.join("gpt2"));

    let settings = ["base=gpt2", "checkpoint.keep=9"];
    finetune(at, "full", &settings).assert().success();
    let after = tensors(&at.join("runs/full/step-000020"));
    assert!(after.keys().eq(before.keys()), "{:?}", after.keys());
    for (name, tensor) in &after {
        assert!(*tensor != before[name], "{name} has not moved");
    }
    let config = std::fs::read_to_string(at.join("runs/full/best/config.json")).unwrap();
    assert!(config.contains("GPT2LMHeadModel"), "{config}");
    assert!(bits_per_byte(at, "runs/full", "asked") < bits_per_byte(at, "gpt2", "asked") - 0.5);

    // Leaves the folder as if the run had been killed after its tenth step.
    std::fs::remove_dir_all(at.join("runs/full/step-000020")).unwrap();
    let mut resumed = finetune(at, "full", &settings);
    resumed.arg("--resume").assert().success();
    assert!(tensors(&at.join("runs/full/step-000020")) == after);

    // Only the last layer and the final norm, with its bias, are trained.
    let frozen = ["base=gpt2", "method=frozen", "frozen.train_last_layers=1"];
    finetune(at, "frozen", &frozen).assert().success();
    for (name, tensor) in tensors(&at.join("runs/frozen/latest")) {
        let moves = name.starts_with("h.1.") || name.starts_with("ln_f.");
        assert_eq!(tensor != before[&name], moves, "{name}");
    }
    // A head that is trained alone is untied from the embedding.
    let head = ["base=gpt2", "method=frozen", "frozen.train=[\"lm_head\"]"];
    finetune(at, "head", &head).assert().success();
    let head = tensors(&at.join("runs/head/latest"));
    assert_eq!(head.len(), before.len() + 1);
    assert!(head["wte.weight"] == before["wte.weight"]);
    assert!(head["lm_head.weight"] != before["wte.weight"]);

    let tuned = ["runs/full", "runs/frozen", "runs/head"];
    let mut report = polymath(at);
    report.args(["report", "gpt2"]).args(tuned);
    let arguments = ["--dataset", "data", "--niche", "asked", "-o", "report"];
    report.args(arguments).assert().success();
    let mixed = [
        "interpolate",
        "gpt2",
        "runs/full",
        "-o",
        "mixed",
        "--alphas",
        "0.5",
    ];
    polymath(at)
        .args(mixed)
        .args(["--limit", "9"])
        .assert()
        .success();
    assert!(tensors(&at.join("mixed")).keys().eq(before.keys()));
    let generate = [
        "generate",
        "runs/full",
        "--prompt",
        "say 7",
        "--max-tokens",
        "5",
    ];
    polymath(at).args(generate).assert().success();
}

/// Checks that unsupported settings for a GPT-2 are refused before the first step, with the reason and the choices.
#[test]
fn unsupported_settings_of_a_gpt2_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    prepare(at);
    let cases: [(&[&str], &str); 3] = [
        (&["base=gpt2", "method=lora"], "a GPT-2 takes no adapter"),
        (
            &["base=gpt2", "training.sequence_length=49"],
            "the base's context of 48",
        ),
        (
            &[
                "base=gpt2",
                "method=frozen",
                "frozen.train=[\"transformer.h.0\"]",
            ],
            "`transformer.h.0`, which matches no parameter",
        ),
    ];
    for (settings, message) in cases {
        finetune(at, "refused", settings)
            .assert()
            .code(2)
            .stderr(contains(message));
        assert!(!at.join("runs/refused").exists());
    }
}
