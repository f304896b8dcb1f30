//! Tests of one optimizer update with the default settings of a fine-tuning, compared with values computed by hand.

use std::collections::BTreeMap;

use candle_core::Tensor;
use polymath_finetune::{BaseFacts, FinetuneConfig};
use polymath_model::Transformer;
use polymath_ops::UpdateAt;
use polymath_train::{Optimizer, OptimizerChoice};

use crate::support::tiny::{assert_close, numbers, ops, trained};

const RATE: f64 = 0.25;
const EPSILON: f64 = 1e-8;
const FIRST: UpdateAt = UpdateAt {
    step: 1,
    gradient_scale: 1.0,
};

/// Makes one optimizer update with the default settings for a base that was trained with `optimizer`. Returns the
/// parameters before and after.
fn update(
    base: OptimizerChoice,
    gradient: impl Fn(&Tensor) -> Tensor,
) -> [BTreeMap<String, Vec<f64>>; 2] {
    let text = "base = \"b\"\ntexts = [\"t\"]\nrun = \"r\"\n[training]\nsteps = 3";
    let config: FinetuneConfig = toml::from_str(text).unwrap();
    let facts = BaseFacts {
        context: 512,
        parameters: 1000,
        optimizer: Some(base),
        fitting: None,
        epoch_tokens: 100,
        scored_tokens: 0,
        padding: 0.0,
    };
    let training = config.resolve(&facts).unwrap().training;
    let model = trained(1);
    let now = |model: &Transformer| {
        let parameters = model.trainable().iter();
        numbers(&BTreeMap::from_iter(parameters.map(|(name, parameter)| {
            (name.clone(), parameter.as_detached_tensor())
        })))
    };
    let before = now(&model);
    let gradients = model
        .trainable()
        .iter()
        .map(|(name, parameter)| (name.clone(), gradient(parameter)))
        .collect();
    let mut optimizer = Optimizer::new(&training, model.trainable(), ops()).unwrap();
    optimizer
        .step(model.trainable(), &gradients, FIRST, RATE)
        .unwrap();
    [before, now(&model)]
}

/// Checks that a parameter without a gradient keeps the base's value, whichever optimizer the base was trained with: by
/// default, no weight decay pulls it towards zero.
#[test]
fn nothing_decays_towards_zero() {
    for base in [OptimizerChoice::Adamw, OptimizerChoice::Muon] {
        let [before, after] = update(base, |parameter| parameter.zeros_like().unwrap());
        assert_eq!(before, after, "{base:?}");
    }
}

/// Checks the first AdamW update against its closed form without weight decay, p − η·g/(|g| + ε): after the bias
/// correction, the first moment is g and the second g².
#[test]
fn the_first_update_is_the_closed_form_without_decay() {
    let slope = 0.5;
    let [before, after] = update(OptimizerChoice::Adamw, |parameter| {
        (parameter.ones_like().unwrap() * slope).unwrap()
    });
    for (name, before) in &before {
        let moved = RATE * slope / (slope + EPSILON);
        let expected: Vec<f64> = before.iter().map(|value| value - moved).collect();
        assert_close(&after[name], &expected, 1e-5, name);
    }
}

/// Checks that matrices of a base trained with Muon are updated by Muon: all singular values of the change are alike,
/// whereas AdamW would change every element by the learning rate.
#[test]
fn a_muon_base_is_moved_by_muon() {
    let name = "model.layers.0.self_attn.q_proj.weight";
    let ones = |parameter: &Tensor| parameter.ones_like().unwrap();
    let change = |base| {
        let [before, after] = update(base, ones);
        let pairs = before[name].iter().zip(&after[name]);
        pairs
            .map(|(before, after)| (before - after).powi(2))
            .sum::<f64>()
            .sqrt()
    };
    // A gradient of rank one has one singular value: 0.2·√8 times the rate, up to Newton–Schulz's tolerance. AdamW
    // moves each of 64 elements by the rate.
    let muon = change(OptimizerChoice::Muon);
    let expected = RATE * 0.2 * 8f64.sqrt();
    assert!((0.6..1.4).contains(&(muon / expected)), "{muon} {expected}");
    assert!((change(OptimizerChoice::Adamw) - RATE * 8.0).abs() < 1e-3);
}
