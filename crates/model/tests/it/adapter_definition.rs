//! Tests that compare low-rank adapters with their definition in f64: the scales of LoRA and rsLoRA, DoRA's
//! magnitudes, every gradient, and the expectation of dropout.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use polymath_model::{
    Adapter, AdapterBase, ArchitectureConfig, Batch, EndTokens, LoadOptions, LoraConfig,
    ModelConfig, Ops, Precision, Transformer,
};

use crate::support::llama_reference;
use crate::support::llama_reference::{Weights, apart, elements, gradient, logits, loss};

const VOCABULARY: u32 = 17;
const RANK: usize = 4;
const MODULES: [&str; 3] = ["self_attn.q_proj", "self_attn.o_proj", "mlp.down_proj"];

/// Kinds of adapters (rank-stabilized, DoRA) with the scale s computed by hand for α = 10 and r = 4: α/r = 2.5, α/√r
/// = 5.
const KINDS: [(bool, bool, f64); 4] = [
    (false, false, 2.5),
    (true, false, 5.0),
    (false, true, 2.5),
    (true, true, 5.0),
];

fn config() -> ModelConfig {
    let architecture: ArchitectureConfig = serde_json::from_value(serde_json::json!({
        "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 10,
        "initializer_range": 0.5,
    }))
    .unwrap();
    architecture
        .resolve(VOCABULARY as usize, 16, EndTokens { begin: 0, end: 1 })
        .unwrap()
}

fn base() -> BTreeMap<String, Tensor> {
    let options = LoadOptions::frozen(&Device::Cpu, Ops::fused(Precision::F32));
    let model = Transformer::initialize(config(), 3, &options).unwrap();
    let parameters = model.parameters().into_iter();
    parameters
        .map(|(name, tensor)| (name.to_owned(), tensor))
        .collect()
}

fn lora(rank_stabilised: bool, dora: bool) -> LoraConfig {
    LoraConfig {
        rank: RANK,
        alpha: 10.0,
        targets: MODULES.map(str::to_owned).to_vec(),
        rank_stabilised,
        dora,
        ..LoraConfig::default()
    }
}

/// Creates an adapter whose A, B and magnitudes have sine values instead of their initial ones.
fn learned(lora: LoraConfig) -> Adapter {
    let nowhere = AdapterBase {
        folder: "base".into(),
        published: None,
        sha256: None,
    };
    let mut adapter = Adapter::initialize(lora, &config(), &base(), 5, nowhere).unwrap();
    for (number, (name, tensor)) in adapter.weights.iter_mut().enumerate() {
        let (around, height) = match name.contains("magnitude") {
            true => (1.5, 0.5),
            false => (0.0, 0.2),
        };
        let wave = |at: usize| around + height * ((at * 3 + number) as f32 * 1.7).sin();
        let wave: Vec<f32> = (0..tensor.elem_count()).map(wave).collect();
        *tensor = Tensor::from_vec(wave, tensor.dims(), &Device::Cpu).unwrap();
    }
    adapter
}

fn with(adapter: Adapter) -> Transformer {
    let options = LoadOptions {
        device: Device::Cpu,
        ops: Ops::fused(Precision::F32),
        trainable: &|name| name.contains(".lora_"),
    };
    Transformer::with_adapter(config(), base(), adapter, &options).unwrap()
}

fn of_tensors(tensors: &BTreeMap<String, Tensor>) -> Weights {
    let of = |(name, tensor): (&String, &Tensor)| (name.clone(), elements(tensor));
    tensors.iter().map(of).collect()
}

/// Computes W + s·B·A, element by element.
fn added(base: &[f64], a: &[f64], b: &[f64], scale: f64) -> Vec<f64> {
    let inputs = a.len() / RANK;
    let detour = |row: usize, column: usize| -> f64 {
        (0..RANK)
            .map(|r| b[row * RANK + r] * a[r * inputs + column])
            .sum()
    };
    let element = |(at, weight): (usize, &f64)| weight + scale * detour(at / inputs, at % inputs);
    base.iter().enumerate().map(element).collect()
}

fn length(row: &[f64]) -> f64 {
    row.iter().map(|x| x * x).sum::<f64>().sqrt()
}

/// Computes the effective weights of an adapter: W + s·B·A. With DoRA, each row is scaled to its magnitude divided by
/// the norm of the row in `lengths_of`, which is constant for the gradient.
fn effective(adapter: &Weights, lengths_of: &Weights, scale: f64) -> Weights {
    let mut weights = of_tensors(&base());
    for (name, base) in &mut weights {
        let module = name.trim_end_matches(".weight");
        let part = |of: &Weights, part: &str| of.get(&format!("{module}.{part}")).cloned();
        let moved = |of: &Weights| {
            let (a, b) = (part(of, "lora_A.weight")?, part(of, "lora_B.weight")?);
            Some(added(base, &a, &b, scale))
        };
        let Some(mut found) = moved(adapter) else {
            continue;
        };
        if let Some(magnitude) = part(adapter, "lora_magnitude_vector") {
            let inputs = found.len() / magnitude.len();
            let lengths = moved(lengths_of).unwrap();
            let rows = found.chunks_mut(inputs).zip(lengths.chunks(inputs));
            for ((row, of_length), magnitude) in rows.zip(&magnitude) {
                row.iter_mut()
                    .for_each(|x| *x *= magnitude / length(of_length));
            }
        }
        *base = found;
    }
    weights
}

/// Creates rows of two packed documents each.
fn batch() -> Batch {
    Batch {
        input_ids: (0..20).map(|at| at * 7 % VOCABULARY).collect(),
        targets: (0..20).map(|at| (at + 1) * 5 % VOCABULARY).collect(),
        document_starts: (0..20).map(|at| if at % 10 < 4 { 0 } else { 4 }).collect(),
        rows: 2,
        domains: vec![0; 2],
    }
}

/// Checks that an adapter, separate from the base or merged into it, computes W + s·B·A with the s of its kind.
#[test]
fn scales_are_those_of_the_papers() {
    for (rank_stabilised, dora, scale) in KINDS {
        let adapter = learned(lora(rank_stabilised, dora));
        let own = of_tensors(&adapter.weights);
        let expected = effective(&own, &own, scale);
        let mut merged = base();
        adapter.merge(&config(), &mut merged).unwrap();
        for (name, tensor) in &merged {
            let share = apart(&elements(tensor), &expected[name]);
            assert!(
                share < 1e-5,
                "rs {rank_stabilised}, dora {dora}, `{name}`: {share}"
            );
        }
        let found = elements(&with(adapter).logits(&batch()).unwrap());
        let documents = llama_reference::documents(&batch()).into_iter();
        let of = |range| logits(&config(), &expected, &batch().input_ids[range]).concat();
        let share = apart(&found, &documents.flat_map(of).collect::<Vec<_>>());
        assert!(share < 1e-5, "rs {rank_stabilised}, dora {dora}: {share}");
    }
}

/// Checks every element of the gradients of A, B and the magnitudes against finite differences of the definition.
/// With DoRA the row norms are constants, as in the paper.
#[test]
fn gradients_are_slopes_of_the_definition() {
    for (rank_stabilised, dora, scale) in KINDS {
        let adapter = learned(lora(rank_stabilised, dora));
        let own = of_tensors(&adapter.weights);
        let model = with(adapter);
        let gradients = model.loss(&batch()).unwrap().backward().unwrap();
        let lengths_of = own.clone();
        let slope =
            |moved: &Weights| loss(&config(), &effective(moved, &lengths_of, scale), &batch());
        for name in own.keys().filter(|name| name.contains("layers.1")) {
            let found = elements(gradients.get(&model.trainable()[name]).unwrap());
            let share = apart(&found, &gradient(&own, name, &slope));
            assert!(
                share < 1e-4,
                "rs {rank_stabilised}, dora {dora}, `{name}`: {share}"
            );
        }
    }
}

/// Checks that dropout preserves the mean: over many steps, the mean change of the loss equals the change without
/// dropout, for a small adapter. Without the rescaling it would be 0.6 of it, and with a double rescaling 1.67 of it.
#[test]
fn dropout_keeps_the_mean() {
    const STEPS: u64 = 1500;
    for dora in [false, true] {
        let small = |dropout: f64| {
            let mut adapter = learned(LoraConfig {
                dropout,
                targets: vec!["model.layers.1.mlp.down_proj".into()],
                ..lora(false, dora)
            });
            for (name, tensor) in &mut adapter.weights {
                if name.contains("lora_B") {
                    *tensor = (&*tensor * 0.05).unwrap();
                }
                if name.contains("magnitude") {
                    *tensor = Tensor::from_vec(vec![1f32; 8], 8, &Device::Cpu).unwrap();
                }
            }
            with(adapter)
        };
        let loss = |model: &Transformer| {
            f64::from(model.loss(&batch()).unwrap().to_scalar::<f32>().unwrap())
        };
        let (still, dropping) = (small(0.0), small(0.4));
        let without = {
            let mut adapter = still.adapter().unwrap();
            for (name, tensor) in &mut adapter.weights {
                if name.contains("lora_B") {
                    *tensor = tensor.zeros_like().unwrap();
                }
            }
            loss(&with(adapter))
        };
        let expected = loss(&still) - without;
        let changes: Vec<f64> = (0..STEPS)
            .map(|step| {
                dropping.begin_step(9, step);
                loss(&dropping) - without
            })
            .collect();
        let mean = changes.iter().sum::<f64>() / STEPS as f64;
        let squares = changes.iter().map(|x| (x - mean).powi(2)).sum::<f64>();
        let error = (squares / (STEPS * (STEPS - 1)) as f64).sqrt();
        assert!(
            error * 12.0 < expected.abs(),
            "too few steps: {error} of {expected}"
        );
        let off = (mean - expected).abs();
        assert!(
            off < 4.0 * error,
            "dora {dora}: {mean} for {expected} ± {error}"
        );
    }
}
