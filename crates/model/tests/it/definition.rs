//! Tests that compare the model with its definition in f64: logits of packed rows, losses with ignored targets, every
//! gradient, and generated text.

use candle_core::Device;
use polymath_model::{
    ArchitectureConfig, Batch, DocumentSampler, EndTokens, Generation, GreedyContinuations,
    IGNORED, Implementation, LoadOptions, ModelConfig, Ops, Precision, SamplingConfig,
    SlidingWindow, Transformer,
};

use crate::support::llama_reference::{
    Weights, apart, documents, elements, gradient, logits, loss, weights,
};

const VOCABULARY: u32 = 19;
const BOTH: [Implementation; 2] = [Implementation::Fused, Implementation::Reference];

/// Returns the config of a model with two layers and grouped-query attention. With `kind` 2, its second layer has a
/// window of 3 tokens.
fn config(kind: usize) -> ModelConfig {
    let architecture: ArchitectureConfig = serde_json::from_value(serde_json::json!({
        "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "head_dim": 4, "intermediate_size": 12, "initializer_range": 0.5, "qk_norm": kind > 0,
        "rope_theta": 50.0, "tie_word_embeddings": kind != 2, "max_position_embeddings": 64,
    }))
    .unwrap();
    let mut config = architecture
        .resolve(VOCABULARY as usize, 64, EndTokens { begin: 0, end: 1 })
        .unwrap();
    if kind == 2 {
        config.sliding_window = Some(SlidingWindow {
            size: 3,
            layers: vec![false, true],
        });
    }
    config
}

fn model(config: &ModelConfig, implementation: Implementation) -> Transformer {
    let ops = Ops {
        implementation,
        precision: Precision::F32,
    };
    let options = LoadOptions::trained(&Device::Cpu, ops);
    Transformer::initialize(config.clone(), 11, &options).unwrap()
}

/// Creates two rows of packed documents, with lengths 5, 1, 6 and 3, 9; every third target is ignored.
fn packed() -> Batch {
    let starts = [[0; 5].as_slice(), &[5], &[6; 6], &[0; 3], &[3; 9]].concat();
    Batch {
        input_ids: (0..24)
            .map(|at| (at * at * 5 + at + 2) % VOCABULARY)
            .collect(),
        targets: (0..24)
            .map(|at| match at % 3 {
                2 => IGNORED,
                _ => (at * 11 + 3) % VOCABULARY,
            })
            .collect(),
        document_starts: starts,
        rows: 2,
        domains: vec![0; 2],
    }
}

/// Checks that each document of a packed row has the same logits as alone, from position 0 on.
#[test]
fn packed_documents_are_computed_as_if_alone() {
    for kind in 0..3 {
        let config = config(kind);
        for implementation in BOTH {
            let model = model(&config, implementation);
            let (weights, batch) = (weights(&model), packed());
            let found = elements(&model.logits(&batch).unwrap());
            for range in documents(&batch) {
                let expected = logits(&config, &weights, &batch.input_ids[range.clone()]).concat();
                let found = &found[range.start * VOCABULARY as usize..][..expected.len()];
                let apart = apart(found, &expected);
                assert!(
                    apart < 1e-5,
                    "{implementation:?}, {kind}, {range:?}: {apart}"
                );
            }
        }
    }
}

/// Checks that the loss is the sum over the targets that are not ignored, and that every gradient matches finite
/// differences, also with activation checkpointing.
#[test]
fn losses_and_gradients_are_those_of_the_definition() {
    for kind in 0..3 {
        let config = config(kind);
        let weights = weights(&model(&config, Implementation::Fused));
        let batch = packed();
        let of = |moved: &Weights| loss(&config, moved, &batch);
        let expected = of(&weights);
        let slopes: Weights = weights
            .keys()
            .map(|name| (name.clone(), gradient(&weights, name, &of)))
            .collect();
        for (implementation, recompute) in [(BOTH[0], false), (BOTH[0], true), (BOTH[1], false)] {
            let model = model(&config, implementation).with_recompute(recompute);
            let what = format!("{implementation:?}, {kind}, recompute {recompute}");
            let computed = model.loss(&batch).unwrap();
            let share = apart(&elements(&computed), &[expected]);
            assert!(share < 1e-6, "{what}: the loss is off by {share}");
            let gradients = computed.backward().unwrap();
            for (name, slopes) in &slopes {
                let found = elements(gradients.get(&model.trainable()[name]).unwrap());
                let share = apart(&found, slopes);
                assert!(share < 2e-5, "{what}, `{name}`: {share}");
            }
        }
    }
}

/// Checks that the z-loss adds its weight times (ln Σ e^logit)² for each target that is not ignored.
#[test]
fn z_loss_is_the_squared_normalizer_of_scored_targets() {
    let config = config(0);
    let model = model(&config, Implementation::Fused).with_z_loss(0.03);
    let (weights, batch) = (weights(&model), packed());
    let mut expected = loss(&config, &weights, &batch);
    for range in documents(&batch) {
        let rows = logits(&config, &weights, &batch.input_ids[range.clone()]);
        for (row, target) in rows.iter().zip(&batch.targets[range]) {
            let normalizer = row.iter().map(|logit| logit.exp()).sum::<f64>().ln();
            expected += match *target {
                IGNORED => 0.0,
                _ => 0.03 * normalizer.powi(2),
            };
        }
    }
    let share = apart(&elements(&model.loss(&batch).unwrap()), &[expected]);
    assert!(share < 1e-6, "off by {share}");
}

/// Finalizer of SplitMix64 over a Weyl sequence (Steele, Lea & Flood 2014), the source of all draws.
fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn unit(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

/// Returns the token at `uniform` in softmax(logits / temperature) over `order`, truncated by top-k and top-p. Also
/// returns the distance in probability between the draw and the token's nearest boundary.
fn drawn(logits: &[f64], order: &[usize], sampling: &SamplingConfig, uniform: f64) -> (u32, f64) {
    let kept = &order[..sampling.top_k.unwrap_or(order.len()).min(order.len())];
    let shares = |kept: &[usize]| -> Vec<f64> {
        let masses = kept
            .iter()
            .map(|token| (logits[*token] / sampling.temperature).exp());
        let masses: Vec<f64> = masses.collect();
        let sum: f64 = masses.iter().sum();
        masses.iter().map(|mass| mass / sum).collect()
    };
    let mut nucleus = 0;
    let mut mass = 0.0;
    let before_cut = shares(kept);
    while nucleus < kept.len() && (nucleus == 0 || mass < sampling.top_p) {
        mass += before_cut[nucleus];
        nucleus += 1;
    }
    let mut end = 0.0;
    for (token, share) in kept.iter().zip(shares(&kept[..nucleus])) {
        let begin = end;
        end += share;
        if uniform < end {
            return (*token as u32, (uniform - begin).min(end - uniform));
        }
    }
    (kept[nucleus - 1] as u32, 0.0)
}

fn by_likelihood(logits: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]));
    order
}

/// Checks that every generated token is the one that the random number selects from the logits of the whole prefix,
/// computed without a cache: at temperatures below and above 1, with top-k, with top-p, and with both.
#[test]
fn generated_tokens_are_draws_from_the_whole_prefix() {
    let samplings = [
        (0.7, None, 1.0),
        (1.6, None, 1.0),
        (1.0, Some(4), 1.0),
        (0.7, None, 0.6),
        (1.3, Some(9), 0.8),
    ];
    let (mut checked, mut all) = (0, 0);
    for kind in 0..3 {
        let config = config(kind);
        let model = model(&config, BOTH[kind % 2]);
        let weights = weights(&model);
        for ((temperature, top_k, top_p), seed) in samplings.into_iter().zip(40..) {
            let sampling = SamplingConfig {
                temperature,
                top_k,
                top_p,
                repetition_penalty: 1.0,
                seed,
            };
            for first in 2..10 {
                let prompt = [0, 7, 3, 3, first];
                let found = Generation::new(&model, &prompt, sampling).unwrap().take(40);
                let found: Vec<u32> = found.map(Result::unwrap).collect();
                let text = [&prompt[..], &found].concat();
                let logits = logits(&config, &weights, &text);
                for (number, token) in found.iter().enumerate() {
                    let logits = &logits[prompt.len() - 1 + number];
                    let uniform = unit(mix(seed.wrapping_add(mix(number as u64))));
                    let (expected, margin) =
                        drawn(logits, &by_likelihood(logits), &sampling, uniform);
                    all += 1;
                    if margin > 1e-3 {
                        assert_eq!(*token, expected, "{kind}, {sampling:?}, token {number}");
                        checked += 1;
                    }
                }
            }
        }
    }
    assert!(
        checked > 500 && checked * 10 > all * 9,
        "only {checked} of {all} draws were clear"
    );
}

/// Checks that a text ends at the first end token in the expected draws, and not earlier.
#[test]
fn texts_end_at_each_stop_token() {
    let mut ended_by = Vec::new();
    for seed in 0..12 {
        let config = ModelConfig {
            eos_token_id: 5,
            other_eos_token_ids: vec![11],
            ..config(0)
        };
        let model = model(&config, Implementation::Fused);
        let weights = weights(&model);
        let sampling = SamplingConfig {
            temperature: 1.2,
            top_k: None,
            top_p: 1.0,
            repetition_penalty: 1.0,
            seed,
        };
        let generation = Generation::new(&model, &[0, 2], sampling).unwrap();
        let found: Vec<u32> = generation.map(Result::unwrap).collect();
        assert!(!found.contains(&5) && !found.contains(&11), "{found:?}");
        let text = [&[0, 2], &found[..]].concat();
        if text.len() < 64 {
            let logits = logits(&config, &weights, &text).pop().unwrap();
            let uniform = unit(mix(seed.wrapping_add(mix(found.len() as u64))));
            let order = by_likelihood(&logits);
            let (token, margin) = drawn(&logits, &order, &sampling, uniform);
            assert!(
                config.ends(token) || margin < 1e-3,
                "{token} does not end a text"
            );
            ended_by.push(token);
        }
    }
    assert!(
        ended_by.contains(&5) && ended_by.contains(&11),
        "{ended_by:?}"
    );
}

/// Checks that documents of different lengths, sampled in one batch, are each the expected draws from their own
/// logits.
#[test]
fn sampled_documents_are_draws_from_their_own_prefix() {
    let config = config(2);
    let model = model(&config, Implementation::Fused);
    let weights = weights(&model);
    let sampler = DocumentSampler {
        temperature: 0.7,
        max_tokens: 30,
        seed: 3,
    };
    let first = 5;
    let documents = sampler.documents(&model, first, 24).unwrap();
    let lengths: Vec<usize> = documents.iter().map(Vec::len).collect();
    let distinct: std::collections::BTreeSet<&usize> = lengths.iter().collect();
    assert!(distinct.len() > 4, "{lengths:?}");
    let sampling = SamplingConfig {
        temperature: 0.7,
        top_k: None,
        top_p: 1.0,
        repetition_penalty: 1.0,
        seed: 0,
    };
    let by_id: Vec<usize> = (0..VOCABULARY as usize).collect();
    let (mut checked, mut all) = (0, 0);
    for (number, document) in documents.iter().enumerate() {
        let text = [&[config.bos_token_id], &document[..]].concat();
        let stream = mix(sampler.seed ^ mix(first + number as u64));
        let logits = logits(&config, &weights, &text);
        for (position, token) in document.iter().enumerate() {
            let uniform = unit(mix(stream.wrapping_add(mix(position as u64))));
            let (expected, margin) = drawn(&logits[position], &by_id, &sampling, uniform);
            all += 1;
            if margin > 1e-3 {
                assert_eq!(*token, expected, "document {number}, token {position}");
                checked += 1;
            }
        }
    }
    assert!(
        checked * 10 > all * 9,
        "only {checked} of {all} draws were clear"
    );
}

/// Checks that prompts of several lengths, continued at once, give the tokens that each gives alone: rows that end
/// leave the batch, and an end token is not among the tokens.
#[test]
fn continuations_at_once_equal_single_ones() {
    let config = ModelConfig {
        eos_token_id: 5,
        other_eos_token_ids: vec![11],
        ..config(0)
    };
    let model = model(&config, Implementation::Fused);
    let greedy = SamplingConfig {
        temperature: 0.0,
        ..SamplingConfig::default()
    };
    let token = |number: u32, at: u32| (number * 5 + at * 3) % VOCABULARY;
    let prompt = |number: u32| (0..1 + number % 7).map(|at| token(number, at)).collect();
    let prompts: Vec<Vec<u32>> = (0..90).map(prompt).collect();
    let alone = |prompt: &Vec<u32>| -> Vec<u32> {
        let generation = Generation::new(&model, prompt, greedy).unwrap();
        let ended = generation.ending_at(&[9]).take(24);
        ended.map(Result::unwrap).collect()
    };
    let settings = GreedyContinuations {
        max_tokens: 24,
        ends: vec![9],
    };
    let mut counted = 0;
    let found = settings
        .of(&model, &prompts, &mut |done| counted = done)
        .unwrap();
    assert_eq!(counted, 90);
    assert_eq!(found, prompts.iter().map(alone).collect::<Vec<_>>());
    let lengths: std::collections::BTreeSet<usize> = found.iter().map(Vec::len).collect();
    assert!(lengths.len() > 2, "lengths {lengths:?}");
    let long = settings.of(&model, &[vec![1; 60]], &mut |_| {});
    assert!(long.unwrap_err().to_string().contains("60 tokens"));
}
