//! Test that the objective passes the step number on to the model, which draws dropout masks from it.

#[path = "../../../tests/it/support/tiny.rs"]
mod tiny;

use candle_core::Device;
use polymath_model::{Adapter, AdapterBase, LoadOptions, LoraConfig, TokenizerFiles, Transformer};

use super::*;

/// Returns a model with an adapter that has dropout and whose weights are such that it changes the model's output.
fn dropping() -> Transformer {
    let base = tiny::frozen(1);
    let weights = base.parameters().into_iter();
    let weights: BTreeMap<String, Tensor> = weights
        .map(|(name, tensor)| (name.to_owned(), tensor))
        .collect();
    let lora = LoraConfig {
        dropout: 0.5,
        ..LoraConfig::default()
    };
    let nowhere = AdapterBase {
        folder: "base".into(),
        published: None,
        sha256: None,
    };
    let mut adapter = Adapter::initialize(lora, base.config(), &weights, 1, nowhere).unwrap();
    for tensor in adapter.weights.values_mut() {
        *tensor = (&*tensor + 0.1).unwrap();
    }
    let options = LoadOptions {
        device: Device::Cpu,
        ops: tiny::ops(),
        trainable: &|name| name.contains(".lora_"),
    };
    Transformer::with_adapter(base.config().clone(), weights, adapter, &options).unwrap()
}

fn batch() -> Batch {
    let ids: Vec<u32> = (0..24).map(|at| 1 + at * 5 % 22).collect();
    Batch {
        targets: ids.iter().map(|id| id * 3 % 22).collect(),
        document_starts: vec![0; 24],
        input_ids: ids,
        rows: 2,
        domains: vec![0, 0],
    }
}

fn retaining(transformer: &Transformer) -> RetentionObjective<'_> {
    RetentionObjective {
        model: LanguageModel {
            transformer,
            tokenizer: TokenizerFiles::default(),
        },
        penalties: Vec::new(),
        replay_weight: 1.0,
        distillation: None,
        lineage: None,
    }
}

/// Checks that at each step the objective uses the model's own dropout mask for that step and seed, and that the
/// masks differ.
#[test]
fn dropout_follows_the_step() {
    let model = dropping();
    let objective = retaining(&model);
    let loss = |loss: Tensor| loss.to_scalar::<f32>().unwrap().to_bits();
    let mut seen = std::collections::BTreeSet::new();
    for (seed, step) in [(7, 0), (7, 1), (7, 2), (8, 0), (8, 1)] {
        model.begin_step(seed, step);
        let expected = loss(model.loss(&batch()).unwrap());
        model.begin_step(99, 99);
        objective.begin_step(seed, step);
        assert_eq!(
            loss(objective.losses(&batch(), 1.0).unwrap().total),
            expected
        );
        model.begin_step(99, 99);
        objective.model.begin_step(seed, step);
        assert_eq!(loss(objective.model.loss(&batch()).unwrap()), expected);
        assert!(seen.insert(expected), "seed {seed}, step {step}");
    }
}
