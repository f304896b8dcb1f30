//! Tests of distillation against its definition, and of cached predictions of the base against computing them live.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use candle_core::{Tensor, Var};
use polymath_data::{
    Batch, BatchShape, MixturePart, MixtureStream, Replay, ReplayStream, TokenShard,
};
use polymath_finetune::retention::{Base, Distillation, RetentionObjective, TeacherPool};
use polymath_model::{TokenizerFiles, Transformer};
use polymath_train::{LanguageModel, Objective};

use crate::support::tiny::{VOCABULARY, assert_close, frozen, shard, trained, values};

const TEMPERATURE: f64 = 1.5;
const STRENGTH: f64 = 0.4;

fn stream(shard: Arc<TokenShard>, rows: usize) -> MixtureStream {
    let part = MixturePart {
        name: "text".into(),
        shard,
        weight: 1.0,
    };
    let shape = BatchShape {
        rows,
        sequence_length: 12,
    };
    MixtureStream::new(vec![part], shape, 0, 4).unwrap()
}

fn replayed(pool: Option<u64>) -> ReplayStream {
    let replay = Replay {
        share: 0.4,
        pool,
        beside: false,
    };
    ReplayStream::new(stream(shard(9), 6), stream(shard(30), 1), replay, 1).unwrap()
}

fn live(seed: u64) -> Base {
    Base::Live(Box::new(frozen(seed)))
}

fn objective_of(transformer: &Transformer, base: Base) -> RetentionObjective<'_> {
    RetentionObjective {
        model: LanguageModel {
            transformer,
            tokenizer: TokenizerFiles::default(),
        },
        penalties: Vec::new(),
        replay_weight: 1.0,
        distillation: Some(Distillation {
            strength: STRENGTH,
            temperature: TEMPERATURE,
            base,
        }),
        lineage: None,
    }
}

fn divergence(objective: &RetentionObjective, batch: &Batch) -> Tensor {
    let losses = objective.losses(batch, 1.0).unwrap();
    assert_eq!(losses.auxiliary[0].0, "distill");
    losses.auxiliary[0].1.clone()
}

/// Returns the part of the loss's gradient that comes from the distillation term.
fn divergence_gradient(objective: &RetentionObjective, batch: &Batch, parameter: &Var) -> Vec<f64> {
    let slope = |scalar: Tensor| {
        let gradients = scalar.backward().unwrap();
        values(gradients.get(parameter).unwrap())
    };
    let with = slope(objective.losses(batch, 1.0).unwrap().total);
    let without = slope(objective.loss(batch).unwrap());
    with.iter().zip(without).map(|(a, b)| a - b).collect()
}

fn number(scalar: &Tensor) -> f64 {
    f64::from(scalar.to_scalar::<f32>().unwrap())
}

/// Returns softmax(logits / T) of each position, in f64.
fn distributions(model: &Transformer, batch: &Batch) -> Vec<Vec<f64>> {
    let logits = values(&model.logits(batch).unwrap());
    logits
        .chunks(VOCABULARY)
        .map(|row| {
            let masses: Vec<f64> = row
                .iter()
                .map(|logit| (logit / TEMPERATURE).exp())
                .collect();
            let sum: f64 = masses.iter().sum();
            masses.into_iter().map(|mass| mass / sum).collect()
        })
        .collect()
}

/// Checks that a replayed token counts `weight` times: (weight − 1) times the loss of the replayed rows alone is
/// added to the batch's loss, with its gradient, with and without distillation.
#[test]
fn replayed_rows_count_by_their_weight() {
    const WEIGHT: f64 = 3.5;
    let tuned = trained(2);
    let parameter = &tuned.trainable()["model.layers.0.self_attn.q_proj.weight"];
    let slope = |scalar: &Tensor| {
        let gradients = scalar.backward().unwrap();
        values(gradients.get(parameter).unwrap())
    };
    let batch = replayed(None).batch(0);
    let mut old = batch.clone();
    for (row, targets) in old.targets.chunks_exact_mut(12).enumerate() {
        if batch.domains[row] == 0 {
            targets.fill(polymath_data::IGNORED);
        }
    }
    let again = tuned.loss(&old).unwrap();
    let slope_of_again = slope(&again);
    assert!(number(&again) > 1.0);
    for is_held in [false, true] {
        let mut objective = objective_of(&tuned, live(1));
        if !is_held {
            objective.distillation = None;
        }
        let once = objective.losses(&batch, 1.0).unwrap();
        objective.replay_weight = WEIGHT;
        let often = objective.losses(&batch, 1.0).unwrap();
        let (name, term) = often.auxiliary.last().unwrap();
        assert_eq!(*name, "replay");
        assert_eq!(number(&often.task), number(&once.task));
        assert_close(
            &[number(term)],
            &[(WEIGHT - 1.0) * number(&again)],
            1e-6,
            "the term",
        );
        let total = number(&once.total) + (WEIGHT - 1.0) * number(&again);
        assert_close(&[number(&often.total)], &[total], 1e-6, "the total");
        let slopes = slope(&once.total).into_iter().zip(&slope_of_again);
        let expected: Vec<f64> = slopes
            .map(|(once, again)| once + (WEIGHT - 1.0) * again)
            .collect();
        assert_close(&slope(&often.total), &expected, 1e-5, "the gradient");
    }
}

/// Checks that a batch without replayed rows has no extra weight and logs a zero.
#[test]
fn a_batch_without_replay_is_not_weighted() {
    let tuned = trained(2);
    let batch = stream(shard(9), 4).batch(0);
    let mut objective = objective_of(&tuned, live(1));
    objective.replay_weight = 2.0;
    let losses = objective.losses(&batch, 1.0).unwrap();
    let names: Vec<_> = losses.auxiliary.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["distill", "replay"]);
    let alone = tuned.loss(&batch).unwrap();
    assert_eq!(number(&losses.total), number(&alone));
}

/// Checks that distillation adds strength·T²·Σ KL(base ‖ tuned), summed over the positions of the replayed rows only,
/// that the language-model loss is unchanged, and that the gradient is the gradient of the sum of both.
#[test]
fn distillation_matches_its_definition() {
    let (tuned, base) = (trained(2), frozen(1));
    let batch = replayed(None).batch(0);
    let count = batch.domains.iter().filter(|domain| **domain > 0).count();
    assert!(count > 0 && count < batch.rows);
    let (q, p) = (distributions(&tuned, &batch), distributions(&base, &batch));
    let mut expected = 0.0;
    for (at, (q, p)) in q.iter().zip(&p).enumerate() {
        if batch.domains[at / 12] > 0 {
            expected += q.iter().zip(p).map(|(q, p)| p * (p / q).ln()).sum::<f64>();
        }
    }
    expected *= STRENGTH * TEMPERATURE * TEMPERATURE;
    let objective = objective_of(&tuned, live(1));
    let losses = objective.losses(&batch, 1.0).unwrap();
    let found = number(&losses.auxiliary[0].1);
    assert!(
        (found - expected).abs() < 1e-4 * expected,
        "{found} for {expected}"
    );
    assert!(expected > 1e-3);
    let alone = tuned.loss(&batch).unwrap();
    assert_eq!(number(&losses.task), number(&alone));

    let parameter = &tuned.trainable()["model.layers.0.input_layernorm.weight"];
    let middle = parameter.as_detached_tensor().copy().unwrap();
    let gradient = divergence_gradient(&objective, &batch, parameter)[3];
    let at = |offset: f32| {
        let mut moved = middle.to_vec1::<f32>().unwrap();
        moved[3] += offset;
        parameter
            .set(&Tensor::new(moved, middle.device()).unwrap())
            .unwrap();
        number(&divergence(&objective, &batch))
    };
    let slope = (at(0.02) - at(-0.02)) / 0.04;
    assert!(
        (slope - gradient).abs() < 0.02 * gradient.abs().max(1e-3),
        "{slope} {gradient}"
    );
}

/// Checks that the distillation term and its gradients are exactly zero if the model is the base itself.
#[test]
fn the_base_does_not_diverge_from_itself() {
    let tuned = trained(1);
    let batch = replayed(None).batch(0);
    let objective = objective_of(&tuned, live(1));
    assert_eq!(number(&divergence(&objective, &batch)), 0.0);
    for parameter in tuned.trainable().values() {
        let slope = divergence_gradient(&objective, &batch, parameter);
        assert!(slope.iter().all(|x| *x == 0.0));
    }
}

/// Checks that a batch without a replayed row has a divergence of zero and an unchanged loss.
#[test]
fn a_batch_without_replay_has_no_divergence() {
    let tuned = trained(2);
    let mut batch = replayed(None).batch(0);
    batch.domains.fill(0);
    assert_eq!(
        number(&divergence(&objective_of(&tuned, live(1)), &batch)),
        0.0
    );
}

fn teacher(stream: &ReplayStream, top_k: usize) -> TeacherPool<'_> {
    TeacherPool {
        stream,
        rows: 20,
        top_k,
        temperature: TEMPERATURE,
        fingerprint: "data".into(),
    }
}

/// Checks that cached predictions give the same KL divergence as the live base if they hold the whole vocabulary, and a
/// lower bound of it if they hold fewer tokens. The cache file is reused, and a damaged one is reported and written
/// again.
#[test]
fn a_pool_of_the_whole_vocabulary_equals_the_base() {
    let run = tempfile::tempdir().unwrap();
    let (tuned, base, stream) = (trained(2), frozen(1), replayed(Some(20)));
    let mut said = Vec::new();
    let mut pool = |teacher: &TeacherPool, run: &Path| {
        let stop = AtomicBool::new(false);
        let mut here = Vec::new();
        let pool = teacher.pool(&base, run, &stop, &mut |text| here.push(text.to_owned()));
        said.push(here.join("; "));
        Base::Pool(pool.unwrap())
    };
    let value = |base: Base, step: u64| {
        let batch = stream.batch(step);
        let objective = objective_of(&tuned, base);
        let parameter = &tuned.trainable()["model.norm.weight"];
        (
            number(&divergence(&objective, &batch)),
            divergence_gradient(&objective, &batch, parameter),
        )
    };
    // Step 30 reaches rows of the pool for the second time.
    for step in [0, 30] {
        let (expected, slope) = value(live(1), step);
        let (whole, whole_slope) = value(pool(&teacher(&stream, VOCABULARY), run.path()), step);
        assert!(
            (whole - expected).abs() < 1e-3 * expected,
            "{whole} {expected}"
        );
        assert_close(&whole_slope, &slope, 1e-3, "gradient");
        let (some, _) = value(pool(&teacher(&stream, 5), run.path()), step);
        assert!(some > 0.0 && some <= expected, "{some} {expected}");
    }
    let first = value(pool(&teacher(&stream, 5), run.path()), 3);
    let path = run.path().join("teacher.safetensors");
    let mut bytes = std::fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&path, bytes).unwrap();
    assert_eq!(first, value(pool(&teacher(&stream, 5), run.path()), 3));
    let (again, damaged) = (&said[4], &said[5]);
    assert_eq!(again, "");
    assert!(
        damaged.contains("teacher.safetensors") && damaged.contains("damaged"),
        "{damaged}"
    );
}
