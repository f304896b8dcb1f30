//! A Llama in f64, computed one document and one number at a time. Fused operations, packed rows, caches, adapters
//! and training steps are compared with it.
#![allow(dead_code, reason = "each program uses a part")]

use std::collections::BTreeMap;
use std::ops::Range;

use candle_core::{DType, Tensor};
use polymath_model::{Batch, IGNORED, ModelConfig, Transformer};

/// Parameters by name, in row-major order.
pub type Weights = BTreeMap<String, Vec<f64>>;

/// Returns the elements of a tensor in row-major order.
pub fn elements(tensor: &Tensor) -> Vec<f64> {
    let tensor = tensor.to_dtype(DType::F64).unwrap();
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// Returns all parameters of a model in f64.
pub fn weights(model: &Transformer) -> Weights {
    let parameters = model.parameters().into_iter();
    parameters
        .map(|(name, tensor)| (name.to_owned(), elements(&tensor)))
        .collect()
}

/// Returns the largest |found − expected| as a share of the largest |expected|; infinite if a value is not finite.
pub fn apart(found: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    if found.iter().chain(expected).any(|x| !x.is_finite()) {
        return f64::INFINITY;
    }
    let largest = |values: &mut dyn Iterator<Item = f64>| values.map(f64::abs).fold(0.0, f64::max);
    let error = largest(&mut found.iter().zip(expected).map(|(a, b)| a - b));
    error / largest(&mut expected.iter().copied()).max(1e-30)
}

/// Splits a packed batch into its documents: ranges of positions with the same document start in the same row.
pub fn documents(batch: &Batch) -> Vec<Range<usize>> {
    let sequence = batch.sequence_length();
    let key = |at: usize| (at / sequence, batch.document_starts[at]);
    let mut found: Vec<Range<usize>> = Vec::new();
    for at in 0..batch.input_ids.len() {
        match found.last_mut() {
            Some(last) if key(last.start) == key(at) => last.end = at + 1,
            _ => found.push(at..at + 1),
        }
    }
    found
}

/// Computes Σ −ln p over the targets of a packed batch, each document as if it were alone.
pub fn loss(config: &ModelConfig, weights: &Weights, batch: &Batch) -> f64 {
    let of = |range: Range<usize>| {
        let rows = logits(config, weights, &batch.input_ids[range.clone()]);
        let scored = rows.iter().zip(&batch.targets[range]);
        scored
            .filter(|(_, target)| **target != IGNORED)
            .map(|(row, target)| surprise(row, *target))
            .sum::<f64>()
    };
    documents(batch).into_iter().map(of).sum()
}

/// Computes the loss −ln softmax(logits)[target].
pub fn surprise(logits: &[f64], target: u32) -> f64 {
    let highest = logits.iter().copied().fold(f64::MIN, f64::max);
    let sum: f64 = logits.iter().map(|logit| (logit - highest).exp()).sum();
    highest + sum.ln() - logits[target as usize]
}

/// Computes ∂loss/∂parameter for every element of `name`, by central differences in f64.
pub fn gradient(weights: &Weights, name: &str, loss: &dyn Fn(&Weights) -> f64) -> Vec<f64> {
    const STEP: f64 = 1e-5;
    let mut moved = weights.clone();
    (0..weights[name].len())
        .map(|at| {
            let mut loss_at = |step: f64| {
                moved.get_mut(name).unwrap()[at] = weights[name][at] + step;
                loss(&moved)
            };
            let slope = (loss_at(STEP) - loss_at(-STEP)) / (2.0 * STEP);
            loss_at(0.0);
            slope
        })
        .collect()
}

/// Computes the logits after each token of one document: (tokens, vocabulary).
pub fn logits(config: &ModelConfig, weights: &Weights, ids: &[u32]) -> Vec<Vec<f64>> {
    let embedding = &weights["model.embed_tokens.weight"];
    let width = config.hidden_size;
    let row = |id: &u32| embedding[*id as usize * width..][..width].to_vec();
    let mut states: Vec<Vec<f64>> = ids.iter().map(row).collect();
    for layer in 0..config.num_hidden_layers {
        let weight = |part: &str| &weights[&format!("model.layers.{layer}.{part}.weight")][..];
        attend(config, layer, &weight, &mut states);
        let (gain, gate) = (weight("post_attention_layernorm"), weight("mlp.gate_proj"));
        let (up, down) = (weight("mlp.up_proj"), weight("mlp.down_proj"));
        for state in &mut states {
            let normed = rms_norm(state, gain, config.rms_norm_eps);
            let gates = linear(&normed, gate).into_iter();
            let silu = gates.map(|x| x / (1.0 + (-x).exp()));
            let active: Vec<f64> = silu
                .zip(linear(&normed, up))
                .map(|(gate, up)| gate * up)
                .collect();
            add(state, &linear(&active, down));
        }
    }
    let head = match config.tie_word_embeddings {
        true => embedding,
        false => &weights["lm_head.weight"],
    };
    let gain = &weights["model.norm.weight"];
    let norm = |state: &Vec<f64>| rms_norm(state, gain, config.rms_norm_eps);
    states
        .iter()
        .map(|state| linear(&norm(state), head))
        .collect()
}

/// Computes x ← x + W_o · attention(norm(x)) over the tokens of one document, which begins at position 0.
fn attend<'a>(
    config: &ModelConfig,
    layer: usize,
    weight: &dyn Fn(&str) -> &'a [f64],
    states: &mut [Vec<f64>],
) {
    let width = config.head_dim;
    let gain = weight("input_layernorm");
    let norm = |state: &Vec<f64>| rms_norm(state, gain, config.rms_norm_eps);
    let normed: Vec<Vec<f64>> = states.iter().map(norm).collect();
    let project = |part: &str| -> Vec<Vec<f64>> {
        let weight = weight(&format!("self_attn.{part}"));
        normed.iter().map(|x| linear(x, weight)).collect()
    };
    let (mut queries, mut keys) = (project("q_proj"), project("k_proj"));
    let values = project("v_proj");
    for (all, norm) in [
        (&mut queries, "self_attn.q_norm"),
        (&mut keys, "self_attn.k_norm"),
    ] {
        for (position, heads) in all.iter_mut().enumerate() {
            for head in heads.chunks_mut(width) {
                if config.qk_norm {
                    head.copy_from_slice(&rms_norm(head, weight(norm), config.rms_norm_eps));
                }
                rotate(head, position as f64, config.rope_theta);
            }
        }
    }
    let window = config.sliding_window.as_ref();
    let window = window
        .filter(|window| window.layers[layer])
        .map_or(usize::MAX, |it| it.size);
    let group = config.num_attention_heads / config.num_key_value_heads;
    let output = weight("self_attn.o_proj");
    for (position, state) in states.iter_mut().enumerate() {
        let first = (position + 1).saturating_sub(window);
        let mut mixed = Vec::new();
        for head in 0..config.num_attention_heads {
            let part = |heads: &'_ [f64], head: usize| heads[head * width..][..width].to_vec();
            let query = part(&queries[position], head);
            let scores: Vec<f64> = (first..=position)
                .map(|at| dot(&query, &part(&keys[at], head / group)) / (width as f64).sqrt())
                .collect();
            let highest = scores.iter().copied().fold(f64::MIN, f64::max);
            let shares: Vec<f64> = scores.iter().map(|score| (score - highest).exp()).collect();
            let sum: f64 = shares.iter().sum();
            let mut seen = vec![0.0; width];
            for (at, share) in (first..=position).zip(&shares) {
                let value = part(&values[at], head / group);
                add(
                    &mut seen,
                    &value.iter().map(|x| x * share / sum).collect::<Vec<_>>(),
                );
            }
            mixed.extend(seen);
        }
        add(state, &linear(&mixed, output));
    }
}

/// Rotates each pair of components (i, i + half) by position · θ^(−2i/width), which is Hugging Face's order of pairs.
fn rotate(head: &mut [f64], position: f64, theta: f64) {
    let half = head.len() / 2;
    for i in 0..half {
        let angle = position * theta.powf(-((2 * i) as f64) / head.len() as f64);
        let (a, b) = (head[i], head[i + half]);
        head[i] = a * angle.cos() - b * angle.sin();
        head[i + half] = b * angle.cos() + a * angle.sin();
    }
}

fn rms_norm(x: &[f64], gain: &[f64], epsilon: f64) -> Vec<f64> {
    let mean = dot(x, x) / x.len() as f64;
    let scale = 1.0 / (mean + epsilon).sqrt();
    x.iter()
        .zip(gain)
        .map(|(x, gain)| x * scale * gain)
        .collect()
}

/// Computes W · x, with W of shape (out, in).
fn linear(x: &[f64], weight: &[f64]) -> Vec<f64> {
    weight.chunks(x.len()).map(|row| dot(row, x)).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn add(x: &mut [f64], y: &[f64]) {
    x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
}
