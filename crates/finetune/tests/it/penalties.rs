//! Tests of L2-SP and EWC against their closed forms, and of the Fisher information against gradients computed one by
//! one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use candle_core::{Device, Tensor};
use polymath_data::{BatchShape, MixturePart, MixtureStream};
use polymath_finetune::FinetuneError;
use polymath_finetune::retention::{Ewc, L2sp, Sample, Squares, cached, combine};
use polymath_model::Transformer;
use polymath_train::Penalty;

use crate::support::tiny::{assert_close, frozen, numbers, ops, shard, trained, values};

/// Returns a gradient of ones for every parameter, to which a penalty then adds its own.
fn ones(model: &Transformer) -> BTreeMap<String, Tensor> {
    model
        .trainable()
        .iter()
        .map(|(name, parameter)| (name.clone(), parameter.ones_like().unwrap().detach()))
        .collect()
}

/// Returns a pseudorandom importance F for each element of the model's parameters.
fn importance(model: &Transformer) -> BTreeMap<String, Tensor> {
    model
        .parameters()
        .into_iter()
        .map(|(name, parameter)| {
            let count = parameter.elem_count();
            let numbers: Vec<f32> = (0..count).map(|at| (at * 37 % 11) as f32 * 0.3).collect();
            let tensor = Tensor::from_vec(numbers, parameter.dims(), &Device::Cpu).unwrap();
            (name.to_owned(), tensor)
        })
        .collect()
}

/// Asserts that a penalty adds scale·λ·F(θ − θ₀) to the gradient and returns λ/2·ΣF(θ − θ₀)².
fn check(penalty: &dyn Penalty, strength: f64, importance: Option<&BTreeMap<String, Tensor>>) {
    const SCALE: f64 = 3.0;
    let (model, base) = (trained(2), frozen(1));
    let mut gradients = ones(&model);
    let value = penalty
        .add(model.trainable(), &mut gradients, SCALE)
        .unwrap();
    let mut sum = 0.0;
    for (name, parameter) in model.parameters() {
        let anchors = values(&base.frozen()[name]);
        let importance = importance.map(|importance| values(&importance[name]));
        let mut expected = Vec::new();
        for (at, (parameter, anchor)) in values(&parameter).iter().zip(&anchors).enumerate() {
            let firm = importance.as_ref().map_or(1.0, |importance| importance[at]);
            sum += firm * (parameter - anchor).powi(2);
            expected.push(1.0 + SCALE * strength * firm * (parameter - anchor));
        }
        assert_close(&values(&gradients[name]), &expected, 1e-6, name);
    }
    let expected = 0.5 * strength * sum;
    assert!(
        (value - expected).abs() < 1e-6 * expected,
        "{value} for {expected}"
    );
    assert!(value > 0.0);
}

/// Checks that L2-SP has the gradient λ(θ − θ₀) and the value λ/2·‖θ − θ₀‖², both exactly zero at the base.
#[test]
fn l2sp_matches_its_closed_form() {
    let penalty = L2sp {
        strength: 0.7,
        base: frozen(1).frozen().clone(),
        ops: ops(),
    };
    check(&penalty, 0.7, None);
    let base = trained(1);
    let mut gradients = ones(&base);
    assert_eq!(
        penalty.add(base.trainable(), &mut gradients, 5.0).unwrap(),
        0.0
    );
    assert!(
        gradients
            .values()
            .all(|gradient| values(gradient).iter().all(|x| *x == 1.0))
    );
}

/// Checks that EWC has the gradient λF(θ − θ₀) and the value λ/2·ΣF(θ − θ₀)².
#[test]
fn ewc_matches_its_closed_form() {
    let base = frozen(1);
    let fisher = importance(&base);
    let penalty = Ewc {
        strength: 2.5,
        base: base.frozen().clone(),
        fisher: fisher.clone(),
        ops: ops(),
    };
    check(&penalty, 2.5, Some(&fisher));
}

/// Checks that penalties add no gradient to a parameter that the loss does not reach, so that the run's gradient
/// check still finds it.
#[test]
fn penalties_add_no_missing_gradients() {
    let model = trained(2);
    let penalty = L2sp {
        strength: 1.0,
        base: frozen(1).frozen().clone(),
        ops: ops(),
    };
    let mut gradients = ones(&model);
    gradients.remove("model.norm.weight");
    penalty.add(model.trainable(), &mut gradients, 1.0).unwrap();
    assert!(!gradients.contains_key("model.norm.weight"));
}

fn sample() -> Sample {
    Sample {
        domain: "counting".into(),
        shard: shard(30),
        data_sha256: "data".into(),
        base_sha256: "base".into(),
        tokens: 40,
        sequence_length: 12,
    }
}

/// Checks that the Fisher information is the sum of the rows' squared gradients divided by their tokens, computed one
/// row at a time.
#[test]
fn fisher_is_the_mean_of_squared_gradients() {
    let (model, sample) = (trained(3), sample());
    let part = MixturePart {
        name: "counting".into(),
        shard: sample.shard.clone(),
        weight: 1.0,
    };
    let shape = BatchShape {
        rows: 1,
        sequence_length: 12,
    };
    let stream = MixtureStream::new(vec![part], shape, 0, 0).unwrap();
    let mut expected: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for row in 0..4 {
        let loss = model.loss(&stream.batch(row)).unwrap();
        let gradients = loss.backward().unwrap();
        for (name, parameter) in model.trainable() {
            let gradient = values(gradients.get(parameter).unwrap());
            let sums = expected
                .entry(name.clone())
                .or_insert_with(|| vec![0.0; gradient.len()]);
            for (sum, gradient) in sums.iter_mut().zip(gradient) {
                *sum += gradient * gradient / 48.0;
            }
        }
    }
    let squares = Squares::measure(&model, &sample, &AtomicBool::new(false)).unwrap();
    assert_eq!(squares.tokens, 48);
    let found = numbers(&squares.mean().unwrap());
    for (name, expected) in &expected {
        assert_close(&found[name], expected, 1e-5, name);
    }
    // Two domains, one of them with three times the weight.
    let once = squares.mean().unwrap();
    let twice: BTreeMap<String, Tensor> = once
        .iter()
        .map(|(name, fisher)| (name.clone(), (fisher * 2.0).unwrap()))
        .collect();
    let mixed = numbers(&combine(vec![(3.0, once), (1.0, twice)]).unwrap());
    for (name, expected) in &expected {
        let expected: Vec<f64> = expected.iter().map(|x| 1.25 * x).collect();
        assert_close(&mixed[name], &expected, 1e-5, name);
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// Checks that the cache returns the same bits, that another base, other data or settings use other files, and that a
/// damaged file is reported and computed again.
#[test]
fn fisher_is_cached() {
    let root = tempfile::tempdir().unwrap();
    let (model, sample) = (trained(3), sample());
    let run = |sample: &Sample| {
        let mut said = Vec::new();
        let stop = AtomicBool::new(false);
        let squares = cached(&model, sample, root.path(), &stop, &mut |text| {
            said.push(text.to_owned());
        });
        (numbers(&squares.unwrap().mean().unwrap()), said.join("; "))
    };
    let (first, said) = run(&sample);
    assert!(said.contains("measuring"), "{said}");
    let (again, said) = run(&sample);
    assert_eq!(first, again);
    assert_eq!(said, "");
    let path = files(root.path()).remove(0);

    let mut bytes = std::fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let (again, said) = run(&sample);
    assert_eq!(first, again);
    assert!(
        said.contains(&path.display().to_string()) && said.contains("damaged"),
        "{said}"
    );
    std::fs::write(&path, &bytes[..100]).unwrap();
    assert!(run(&sample).1.contains("damaged"));
    assert_eq!(run(&sample).1, "");

    for other in [
        Sample {
            base_sha256: "another".into(),
            ..sample.clone()
        },
        Sample {
            data_sha256: "another".into(),
            ..sample.clone()
        },
        Sample {
            tokens: 20,
            ..sample.clone()
        },
    ] {
        assert!(run(&other).1.contains("measuring"));
    }
    assert_eq!(files(root.path()).len(), 4);
    let stop = AtomicBool::new(true);
    let stopped = Squares::measure(&model, &sample, &stop);
    assert!(matches!(stopped, Err(FinetuneError::Stopped)));
}
