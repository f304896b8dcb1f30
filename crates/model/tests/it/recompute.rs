//! Tests that activation checkpointing changes the memory only, not the results.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use polymath_model::{
    Adapter, AdapterBase, ArchitectureConfig, Batch, EndTokens, Implementation, LoadOptions,
    LoraConfig, ModelConfig, Ops, Precision, SlidingWindow, Transformer,
};

/// Returns a config; with `qk_norm`, some of its layers have a sliding window.
fn config(qk_norm: bool) -> ModelConfig {
    let architecture: ArchitectureConfig = serde_json::from_str(&format!(
        r#"{{"hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 3, "initializer_range": 0.2,
            "qk_norm": {qk_norm}}}"#
    ))
    .unwrap();
    let window = SlidingWindow {
        size: 3,
        layers: vec![true, false, true],
    };
    ModelConfig {
        sliding_window: qk_norm.then_some(window),
        ..architecture
            .resolve(31, 16, EndTokens { begin: 0, end: 0 })
            .unwrap()
    }
}

const PRECISIONS: [Precision; 2] = [Precision::F32, Precision::Bf16];

fn fused(precision: Precision) -> Ops {
    Ops {
        implementation: Implementation::Fused,
        precision,
    }
}

/// Creates rows of two packed documents each.
fn batch() -> Batch {
    Batch {
        input_ids: (0..32).map(|at| at * 7 % 31).collect(),
        targets: (0..32).map(|at| (at + 1) * 7 % 31).collect(),
        document_starts: (0..32).map(|at| if at % 16 < 5 { 0 } else { 5 }).collect(),
        rows: 2,
        domains: vec![0; 2],
    }
}

/// Returns the bits of the loss and of every gradient.
fn backward(model: &Transformer) -> (u32, BTreeMap<String, Vec<u32>>) {
    model.begin_step(3, 4);
    let loss = model.loss(&batch()).unwrap();
    let gradients = loss.backward().unwrap();
    let bits = |tensor: &Tensor| {
        let values = tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        values.into_iter().map(f32::to_bits).collect()
    };
    let found = model.trainable().iter();
    let found =
        found.map(|(name, parameter)| (name.clone(), bits(gradients.get(parameter).unwrap())));
    (loss.to_scalar::<f32>().unwrap().to_bits(), found.collect())
}

fn assert_same(make: impl Fn() -> Transformer) {
    let kept = backward(&make());
    let again = backward(&make().with_recompute(true));
    assert!(!kept.1.is_empty());
    assert!(kept.1.values().flatten().any(|bits| *bits != 0));
    assert_eq!(kept.0, again.0);
    for (name, gradient) in &kept.1 {
        assert_eq!(gradient, &again.1[name], "{name}");
    }
}

/// Checks that the loss and all gradients are the same to the last bit: for the fused and the reference operations,
/// in f32 and in bf16, with and without query/key norms, with all parameters trainable and with the last block only.
#[test]
fn gradients_are_the_same_bits() {
    let reference = Ops {
        implementation: Implementation::Reference,
        precision: Precision::F32,
    };
    let [plain, narrow] = PRECISIONS.map(fused);
    for ops in [plain, narrow, reference] {
        for qk_norm in [false, true] {
            for last_only in [false, true] {
                assert_same(|| {
                    let options = LoadOptions {
                        device: Device::Cpu,
                        ops,
                        trainable: &|name| !last_only || name.contains("layers.2."),
                    };
                    Transformer::initialize(config(qk_norm), 11, &options).unwrap()
                });
            }
        }
    }
}

/// Checks the same with adapters: a recomputed block applies the same dropout.
#[test]
fn recomputed_blocks_drop_the_same_inputs() {
    let both = |dora| PRECISIONS.map(|precision| (dora, precision));
    for (dora, precision) in [false, true].into_iter().flat_map(both) {
        assert_same(|| {
            let options = LoadOptions::frozen(&Device::Cpu, fused(precision));
            let base = Transformer::initialize(config(false), 3, &options).unwrap();
            let weights: BTreeMap<String, Tensor> = base
                .parameters()
                .into_iter()
                .map(|(name, tensor)| (name.to_owned(), tensor))
                .collect();
            let lora = LoraConfig {
                dropout: 0.3,
                dora,
                targets: vec!["q_proj".into(), "o_proj".into(), "down_proj".into()],
                ..LoraConfig::default()
            };
            let nowhere = AdapterBase {
                folder: "base".into(),
                published: None,
                sha256: None,
            };
            let mut adapter =
                Adapter::initialize(lora, &config(false), &weights, 5, nowhere).unwrap();
            for (name, tensor) in &mut adapter.weights {
                if name.contains("lora_B") {
                    *tensor = (tensor.ones_like().unwrap() * 0.1).unwrap();
                }
            }
            let options = LoadOptions {
                trainable: &|name| name.contains(".lora_"),
                ..options
            };
            Transformer::with_adapter(config(false), weights, adapter, &options).unwrap()
        });
    }
}
