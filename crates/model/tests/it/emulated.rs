//! Models on the CUDA kernels, which an emulator runs on the CPU, against the reference: losses, scores, gradients,
//! greedy texts and training, of both families, with packed documents, windows, adapters and recomputation.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use polymath_model::{
    Adapter, AdapterBase, Batch, Family, Generation, IGNORED, Implementation, LoadOptions,
    LoraConfig, ModelConfig, Ops, Precision, SamplingConfig, SlidingWindow, Transformer,
};
use polymath_ops::{
    AdamW, AdamWUpdate, Moments, Sampling, UpdateAt, counted, emulated_work, gradient_norm,
    install_emulator,
};

const VOCABULARY: u32 = 61;
const LENGTH: usize = 24;

/// Returns a model with grouped queries, norms of queries and keys, and a window in every second layer.
fn llama() -> ModelConfig {
    ModelConfig {
        family: Family::Llama,
        qk_norm: true,
        vocab_size: VOCABULARY as usize,
        hidden_size: 32,
        intermediate_size: 56,
        num_hidden_layers: 2,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        head_dim: 8,
        max_position_embeddings: 64,
        rope_theta: 500.0,
        rope_scaling: None,
        attention_bias: false,
        sliding_window: Some(SlidingWindow {
            size: 7,
            layers: vec![true, false],
        }),
        rms_norm_eps: 1e-5,
        tie_word_embeddings: false,
        initializer_range: 0.2,
        bos_token_id: 0,
        eos_token_id: 0,
        other_eos_token_ids: Vec::new(),
    }
}

/// Returns the same model without norms of queries and keys, with windows in all layers: each half of its blocks is a
/// single operation.
fn plain() -> ModelConfig {
    ModelConfig {
        qk_norm: false,
        sliding_window: Some(SlidingWindow {
            size: 7,
            layers: vec![true, true],
        }),
        ..llama()
    }
}

/// Returns a model with LayerNorm, learned positions, biases and a tied embedding.
fn gpt2() -> ModelConfig {
    ModelConfig {
        family: Family::Gpt2,
        qk_norm: false,
        num_key_value_heads: 4,
        attention_bias: true,
        sliding_window: None,
        tie_word_embeddings: true,
        ..llama()
    }
}

fn ops(implementation: Implementation, precision: Precision) -> Ops {
    install_emulator(polymath_emulator::emulate);
    Ops {
        implementation,
        precision,
    }
}

/// Returns packed documents, some of whose targets are ignored.
fn batch() -> Batch {
    let token = |at: usize| ((at * at * 7 + at) as u32 % (VOCABULARY - 1)) + 1;
    let target = |at: usize| if at % 11 == 3 { IGNORED } else { token(at + 1) };
    Batch {
        input_ids: (0..2 * LENGTH).map(token).collect(),
        targets: (0..2 * LENGTH).map(target).collect(),
        document_starts: (0..2 * LENGTH)
            .map(|at| if at % LENGTH < 13 { 0 } else { 13 })
            .collect(),
        rows: 2,
        domains: vec![0; 2],
    }
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// Returns the largest difference, as a share of the largest expected value or of `least`.
fn difference(found: &[f32], expected: &[f32], least: f32) -> f32 {
    let largest = |values: &mut dyn Iterator<Item = f32>| {
        values.fold(0.0, |most: f32, value| match value.is_nan() {
            true => f32::NAN,
            false => most.max(value.abs()),
        })
    };
    assert_eq!(found.len(), expected.len());
    let apart = largest(&mut found.iter().zip(expected).map(|(a, b)| a - b));
    apart / largest(&mut expected.iter().copied()).max(least)
}

/// Loss, scores and gradients of a batch.
struct Pass {
    loss: f32,
    nats: Vec<f32>,
    gradients: BTreeMap<String, Vec<f32>>,
}

fn pass(model: &Transformer) -> Pass {
    model.begin_step(3, 4);
    let loss = model.loss(&batch()).unwrap();
    let gradients = loss.backward().unwrap();
    let of_parameters = model.trainable().iter().map(|(name, parameter)| {
        let gradient = gradients.get(parameter).expect("a gradient");
        (name.clone(), values(gradient))
    });
    Pass {
        loss: loss.to_scalar().unwrap(),
        nats: model.score(&batch()).unwrap().nats,
        gradients: of_parameters.collect(),
    }
}

fn assert_alike(found: &Pass, expected: &Pass, tolerance: f32, what: &str) {
    let loss = (found.loss - expected.loss).abs() / expected.loss;
    assert!(loss <= tolerance, "{what}: loss {loss}");
    let nats = difference(&found.nats, &expected.nats, 0.0);
    assert!(nats <= tolerance, "{what}: scores {nats}");
    // Some gradients are zero except for rounding, such as that of a bias that is added to all keys of a query.
    let all = expected.gradients.values().flatten();
    let least = tolerance.sqrt() * all.fold(0.0, |most: f32, value| most.max(value.abs()));
    for (name, gradient) in &expected.gradients {
        let apart = difference(&found.gradients[name], gradient, least);
        assert!(apart <= 10.0 * tolerance, "{what}: {name} {apart}");
    }
}

/// Checks loss, scores and every gradient, for both families and precisions, with and without recomputation.
#[test]
fn models_match_the_reference() {
    for config in [llama(), plain(), gpt2()] {
        for (precision, tolerance) in [(Precision::F32, 2e-5), (Precision::Bf16, 2e-2)] {
            let make = |implementation| {
                let options = LoadOptions::trained(&Device::Cpu, ops(implementation, precision));
                Transformer::initialize(config.clone(), 11, &options).unwrap()
            };
            let what = format!("{:?} {precision}", config.family);
            let expected = pass(&make(Implementation::Reference));
            emulated_work();
            let found = pass(&make(Implementation::Emulated));
            let work = emulated_work();
            assert!(work.launches > 20, "{what}: {work:?}");
            assert_alike(&found, &expected, tolerance, &what);
            let again = pass(&make(Implementation::Emulated).with_recompute(true));
            assert_alike(&again, &expected, tolerance, &format!("{what}, recomputed"));
        }
    }
}

/// Checks models with LoRA and DoRA, including their dropout.
#[test]
fn adapters_match_the_reference() {
    for dora in [false, true] {
        let make = |implementation| {
            let frozen = LoadOptions::frozen(&Device::Cpu, ops(implementation, Precision::F32));
            let base = Transformer::initialize(llama(), 3, &frozen).unwrap();
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
            let mut adapter = Adapter::initialize(lora, &llama(), &weights, 5, nowhere).unwrap();
            for (name, tensor) in &mut adapter.weights {
                if name.contains("lora_B") {
                    *tensor = (tensor.ones_like().unwrap() * 0.1).unwrap();
                }
            }
            let tuned = LoadOptions {
                trainable: &|name| name.contains(".lora_"),
                ..frozen
            };
            Transformer::with_adapter(llama(), weights, adapter, &tuned).unwrap()
        };
        let expected = pass(&make(Implementation::Reference));
        let found = pass(&make(Implementation::Emulated));
        assert_alike(&found, &expected, 2e-5, if dora { "DoRA" } else { "LoRA" });
    }
}

/// Checks that greedy texts through the cache are the same.
#[test]
fn texts_match_the_reference() {
    for config in [llama(), plain(), gpt2()] {
        // Roundings to bf16 add up: only the first tokens must be the same.
        for (precision, length) in [(Precision::F32, 12), (Precision::Bf16, 3)] {
            let tokens = |implementation| -> Vec<u32> {
                let options = LoadOptions::frozen(&Device::Cpu, ops(implementation, precision));
                let model = Transformer::initialize(config.clone(), 7, &options).unwrap();
                let greedy = SamplingConfig {
                    temperature: 0.0,
                    top_k: None,
                    top_p: 1.0,
                    repetition_penalty: 1.0,
                    seed: 1,
                };
                let text = Generation::new(&model, &[1, 5, 9], greedy).unwrap();
                text.take(length).collect::<Result<_, _>>().unwrap()
            };
            let expected = tokens(Implementation::Reference);
            let found = tokens(Implementation::Emulated);
            assert_eq!(found, expected, "{:?} {precision}", config.family);
        }
    }
}

/// Trains a model for some steps and returns the losses and the final parameters.
fn train(implementation: Implementation, precision: Precision, steps: u64) -> (Vec<f32>, Vec<f32>) {
    let ops = ops(implementation, precision);
    let options = LoadOptions::trained(&Device::Cpu, ops);
    let model = Transformer::initialize(plain(), 5, &options).unwrap();
    let parameters: Vec<_> = model.trainable().values().collect();
    let mut moments: Vec<Moments> = parameters
        .iter()
        .map(|parameter| Moments::zeros(parameter).unwrap())
        .collect();
    let adamw = AdamW {
        learning_rate: 3e-3,
        beta1: 0.9,
        beta2: 0.95,
        epsilon: 1e-8,
        weight_decay: 0.0,
    };
    let mut losses = Vec::new();
    for step in 1..=steps {
        let loss = model.loss(&batch()).unwrap();
        losses.push(loss.to_scalar::<f32>().unwrap());
        let gradients = loss.backward().unwrap();
        let found: Vec<&Tensor> = parameters
            .iter()
            .map(|parameter| gradients.get(parameter).unwrap())
            .collect();
        let at = UpdateAt {
            step,
            gradient_scale: 1.0 / gradient_norm(ops, &found).unwrap(),
        };
        let updates = parameters.iter().zip(&found).zip(&mut moments);
        let updates = updates.map(|((parameter, gradient), moments)| AdamWUpdate {
            parameter,
            gradient,
            moments,
            weight_decay: 0.1,
        });
        adamw.step_all(ops, at, updates.collect()).unwrap();
    }
    let tensors = parameters.iter().flat_map(|parameter| values(parameter));
    (losses, tensors.collect())
}

/// Checks the losses of 30 steps, and that a second run has the same bits.
#[test]
fn training_matches_the_reference() {
    for (precision, tolerance) in [(Precision::F32, 1e-3), (Precision::Bf16, 5e-2)] {
        let (expected, _) = train(Implementation::Reference, precision, 30);
        let (found, weights) = train(Implementation::Emulated, precision, 30);
        assert!(expected[29] < expected[0] / 1.5, "{expected:?}");
        for (step, (found, expected)) in found.iter().zip(&expected).enumerate() {
            let apart = (found - expected).abs() / expected;
            assert!(
                apart <= tolerance,
                "{precision}, step {step}: {found} {expected}"
            );
        }
        let (again, same) = train(Implementation::Emulated, precision, 5);
        assert_eq!(again, found[..5]);
        assert_eq!(same.len(), weights.len());
    }
}

/// Checks that a step whose work is counted has as much of it as the same step when it is computed, with some blocks
/// for all of their class and with all blocks, and that both move as many bytes.
#[test]
fn counted_steps_are_whole_steps() {
    for config in [llama(), plain(), gpt2()] {
        for precision in [Precision::F32, Precision::Bf16] {
            let what = format!("{:?} {precision}", config.family);
            let options =
                LoadOptions::trained(&Device::Cpu, ops(Implementation::Emulated, precision));
            let model = Transformer::initialize(config.clone(), 11, &options).unwrap();
            let step = || {
                emulated_work();
                model.loss(&batch()).unwrap().backward().unwrap();
                emulated_work()
            };
            let computed = step();
            let (of_all, all) = counted(Sampling::All, step);
            let (of_some, some) = counted(Sampling::Classes, step);
            assert!(computed.read > 100_000, "{what}: {computed:?}");
            assert_eq!(of_all, computed, "{what}");
            assert_eq!(of_some, computed, "{what}");
            assert_eq!(all.len(), some.len(), "{what}");
            for (all, some) in all.iter().zip(&some) {
                assert_eq!((&all.name, all.launches), (&some.name, some.launches));
                // Rows of the small model begin within sectors, some of which two blocks share.
                let apart = all.moved.abs_diff(some.moved);
                assert!(apart * 20 <= all.moved, "{what}: {some:?} for {all:?}");
                assert!(all.moved <= 2 * all.accessed.max(32), "{what}: {all:?}");
            }
        }
    }
}
