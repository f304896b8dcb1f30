//! Tests that compare a GPU with the CPU. They need a GPU: `cargo test --release --features cuda --test it cuda::`.
//!
//! The other tests of the binary run on a GPU with `POLYMATH_TEST_DEVICE=cuda:0 cargo test --release --features
//! cuda`.
#![cfg(feature = "cuda")]

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{Device, Tensor};
use polymath_model::{
    Adapter, AdapterBase, Batch, Family, Generation, IGNORED, LoadOptions, LoraConfig, ModelConfig,
    Ops, Precision, SamplingConfig, SlidingWindow, Transformer,
};
use serde_json::Value;

use crate::support::fixture;

const VOCABULARY: u32 = 97;
const LENGTH: usize = 40;

/// Returns a small Llama with grouped queries, query and key norms, a window in every second layer, and a separate
/// output projection.
fn llama() -> ModelConfig {
    ModelConfig {
        family: Family::Llama,
        qk_norm: true,
        vocab_size: VOCABULARY as usize,
        hidden_size: 48,
        intermediate_size: 88,
        num_hidden_layers: 4,
        num_attention_heads: 6,
        num_key_value_heads: 2,
        head_dim: 8,
        max_position_embeddings: 64,
        rope_theta: 500.0,
        rope_scaling: None,
        attention_bias: false,
        sliding_window: Some(SlidingWindow {
            size: 9,
            layers: vec![true, false, true, false],
        }),
        rms_norm_eps: 1e-5,
        tie_word_embeddings: false,
        initializer_range: 0.2,
        bos_token_id: 0,
        eos_token_id: 0,
        other_eos_token_ids: Vec::new(),
    }
}

/// Returns a small GPT-2: LayerNorm, learned positions, biases and a tied embedding.
fn gpt2() -> ModelConfig {
    ModelConfig {
        family: Family::Gpt2,
        qk_norm: false,
        num_key_value_heads: 6,
        attention_bias: true,
        sliding_window: None,
        tie_word_embeddings: true,
        ..llama()
    }
}

fn gpu() -> Device {
    polymath_model::cuda_device(0).expect("this test needs a GPU")
}

fn options(device: &Device, precision: Precision) -> LoadOptions<'static> {
    LoadOptions::trained(device, Ops::fused(precision))
}

/// Returns a batch of packed documents in which some targets are ignored.
fn batch() -> Batch {
    let token = |at: usize| ((at * at * 7 + at) as u32 % (VOCABULARY - 1)) + 1;
    let target = |at: usize| if at % 11 == 3 { IGNORED } else { token(at + 1) };
    Batch {
        input_ids: (0..3 * LENGTH).map(token).collect(),
        targets: (0..3 * LENGTH).map(target).collect(),
        document_starts: (0..3 * LENGTH)
            .map(|at| if at % LENGTH < 13 { 0 } else { 13 })
            .collect(),
        rows: 3,
        domains: vec![0; 3],
    }
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn largest(values: impl Iterator<Item = f32>) -> f32 {
    values.fold(0.0, |most: f32, value| match value.is_nan() {
        true => f32::NAN,
        false => most.max(value.abs()),
    })
}

/// Returns the largest absolute difference between the elements of two tensors.
fn difference(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    largest(found.iter().zip(expected).map(|(a, b)| a - b))
}

struct Pass {
    loss: f32,
    nats: Vec<f32>,
    gradients: BTreeMap<String, Vec<f32>>,
}

fn pass(model: &Transformer) -> Pass {
    model.begin_step(3, 4);
    let loss = model.loss(&batch()).unwrap();
    let gradients = loss.backward().unwrap();
    Pass {
        loss: loss.to_scalar().unwrap(),
        nats: model.score(&batch()).unwrap().nats,
        gradients: model
            .trainable()
            .iter()
            .map(|(name, parameter)| (name.clone(), values(gradients.get(parameter).unwrap())))
            .collect(),
    }
}

fn assert_alike(found: &Pass, expected: &Pass, tolerance: f32, what: &str) {
    let loss = (found.loss - expected.loss).abs() / expected.loss;
    assert!(loss <= tolerance, "{what}: loss {loss}");
    let nats = difference(&found.nats, &expected.nats) / largest(expected.nats.iter().copied());
    assert!(nats <= tolerance, "{what}: scores {nats}");
    // Some gradients are zero up to rounding, such as that of a bias added to all keys of a query.
    let least = tolerance.sqrt() * largest(expected.gradients.values().flatten().copied());
    for (name, gradient) in &expected.gradients {
        let scale = largest(gradient.iter().copied()).max(least);
        let apart = difference(&found.gradients[name], gradient) / scale;
        assert!(apart <= 10.0 * tolerance, "{what}: {name} {apart}");
    }
}

/// Checks that loss, scores and every gradient agree between GPU and CPU, for Llama and GPT-2, in f32 and bf16, with
/// and without recomputed activations.
#[test]
fn models_agree() {
    for config in [llama(), gpt2()] {
        for (precision, tolerance) in [(Precision::F32, 1e-5), (Precision::Bf16, 1e-2)] {
            let make = |device: &Device| {
                Transformer::initialize(config.clone(), 11, &options(device, precision)).unwrap()
            };
            let what = format!("{:?} {precision:?}", config.family);
            let expected = pass(&make(&Device::Cpu));
            assert!(
                expected
                    .gradients
                    .values()
                    .flatten()
                    .any(|value| *value != 0.0)
            );
            assert_alike(&pass(&make(&gpu())), &expected, tolerance, &what);
            let again = pass(&make(&gpu()).with_recompute(true));
            assert_alike(
                &again,
                &expected,
                tolerance,
                &format!("{what}, computed again"),
            );
        }
    }
}

/// Checks that GPU and CPU agree for models with LoRA and DoRA adapters, and that both drop the same inputs.
#[test]
fn adapters_agree() {
    for dora in [false, true] {
        let make = |device: &Device| {
            let frozen = LoadOptions::frozen(device, Ops::fused(Precision::F32));
            let config = llama();
            let base = Transformer::initialize(config.clone(), 3, &frozen).unwrap();
            let weights: BTreeMap<String, Tensor> = base
                .parameters()
                .into_iter()
                .map(|(name, tensor)| (name.to_owned(), tensor))
                .collect();
            let lora = LoraConfig {
                dropout: 0.3,
                dora,
                ..LoraConfig::default()
            };
            let nowhere = AdapterBase {
                folder: "base".into(),
                published: None,
                sha256: None,
            };
            let mut adapter = Adapter::initialize(lora, &config, &weights, 5, nowhere).unwrap();
            for (name, tensor) in &mut adapter.weights {
                if name.contains("lora_B") {
                    *tensor = (tensor.ones_like().unwrap() * 0.1).unwrap();
                }
            }
            let tuned = LoadOptions {
                trainable: &|name| name.contains(".lora_"),
                ..frozen
            };
            Transformer::with_adapter(config, weights, adapter, &tuned).unwrap()
        };
        let what = if dora { "DoRA" } else { "LoRA" };
        assert_alike(&pass(&make(&gpu())), &pass(&make(&Device::Cpu)), 1e-5, what);
    }
}

/// Checks that GPU and CPU generate the same greedy text with a cache.
#[test]
fn continuations_are_the_same() {
    for config in [llama(), gpt2()] {
        let tokens = |device: &Device| -> Vec<u32> {
            let model =
                Transformer::initialize(config.clone(), 7, &options(device, Precision::F32))
                    .unwrap();
            let greedy = SamplingConfig {
                temperature: 0.0,
                top_k: None,
                top_p: 1.0,
                repetition_penalty: 1.0,
                seed: 1,
            };
            let text = Generation::new(&model, &[1, 5, 9], greedy).unwrap();
            text.take(30).collect::<Result<_, _>>().unwrap()
        };
        let expected = tokens(&Device::Cpu);
        assert!(expected.len() > 5, "{expected:?}");
        assert_eq!(tokens(&gpu()), expected, "{:?}", config.family);
    }
}

fn losses(run: &Path) -> Vec<f64> {
    let text = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    text.lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).unwrap()["loss"].as_f64())
        .collect()
}

/// Checks that training with either optimizer gives the same losses on GPU and CPU, and that a model trained on a GPU
/// scores the same on the CPU.
#[test]
fn training_agrees() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    fixture::write_corpus(at);
    let run = |device: &str, arguments: &[&str]| {
        let mut command = assert_cmd::Command::cargo_bin("polymath").unwrap();
        command
            .current_dir(at)
            .args(["--device", device])
            .args(arguments);
        command.assert().success()
    };
    run("cpu", &["prepare", "prepare.toml"]);
    for optimizer in ["adamw", "muon"] {
        let chosen = format!("training.optimizer={optimizer}");
        let found = ["cpu", "cuda:0"].map(|device| {
            let name = format!("runs/{optimizer}-{}", &device[..3]);
            let named = format!("run={name}");
            run(device, &["pretrain", "pretrain.toml", &named, &chosen]);
            losses(&at.join(name))
        });
        assert_eq!(found[0].len(), 30);
        assert!(found[0][29] < found[0][0] / 1.5, "{:?}", found[0]);
        for (step, (cpu, gpu)) in found[0].iter().zip(&found[1]).enumerate() {
            assert!(
                (cpu - gpu).abs() < 1e-3 * cpu,
                "{optimizer}, {step}: {cpu} {gpu}"
            );
        }
    }
    let scores = |device: &str| {
        let arguments = [
            "evaluate",
            "runs/adamw-cud/best",
            "--dataset",
            "data",
            "--json",
        ];
        let output = run(device, &arguments).get_output().stdout.clone();
        let output: Value = serde_json::from_slice(&output).unwrap();
        output["domains"]["letters"]["bits_per_byte"]
            .as_f64()
            .unwrap()
    };
    let (cpu, gpu) = (scores("cpu"), scores("cuda:0"));
    assert!((cpu - gpu).abs() < 1e-5, "{cpu} {gpu}");
}
