//! Tests of the fused sublayers: they equal the composition of their operations, forward and backward, and compute
//! nothing for frozen weights.

use std::sync::Arc;

use candle_core::{Device, Result, Tensor, Var};
use polymath_ops::{FeedForward, Ops, Placement, RotaryTable, Segments, SelfAttention};

use crate::support;
use crate::support::{FUSED, REFERENCE, assert_close, assert_parity, run, variables};

pub fn feed_forward(ops: Ops, x: &[Tensor]) -> Result<Tensor> {
    let [x, norm, gate, up, down] = x else {
        panic!("five inputs")
    };
    let weights = FeedForward {
        norm,
        epsilon: 1e-5,
        gate: gate.into(),
        up: up.into(),
        down: down.into(),
    };
    ops.feed_forward(x, &weights)
}

pub fn self_attention(ops: Ops, x: &[Tensor]) -> Result<Tensor> {
    let [x, norm, query, key, value, output, norms @ ..] = x else {
        panic!("six inputs, or eight with norms of queries and keys")
    };
    let (batch, sequence, _) = x.dims3()?;
    let rotary = RotaryTable::new(&[1.0, 0.4, 0.1], 80, &Device::Cpu)?;
    let starts: Arc<[u32]> = (0..batch * sequence)
        .map(|i| (i % sequence / 30 * 30) as u32)
        .collect();
    let positions: Arc<[u32]> = (0..batch * sequence)
        .map(|i| (i % sequence % 30) as u32)
        .collect();
    let placement = Placement {
        rotary: &rotary,
        positions: &positions,
        segments: &Segments::new(batch, sequence, starts)?,
    };
    let weights = SelfAttention {
        norm,
        epsilon: 1e-5,
        query: query.into(),
        key: key.into(),
        value: value.into(),
        output: output.into(),
        query_key_norm: match norms {
            [query, key] => Some((query, key)),
            _ => None,
        },
    };
    ops.self_attention(x, &weights, &placement)
}

pub fn attention_inputs(batch: usize, sequence: usize, kv_heads: usize) -> Vec<Var> {
    let keys: &[usize] = &[kv_heads * 6, 20];
    let x: &[usize] = &[batch, sequence, 20];
    variables(&[x, &[20], &[24, 20], keys, keys, &[20, 24]])
}

pub fn normed_inputs(batch: usize, sequence: usize, kv_heads: usize) -> Vec<Var> {
    let keys: &[usize] = &[kv_heads * 6, 20];
    let x: &[usize] = &[batch, sequence, 20];
    variables(&[x, &[20], &[24, 20], keys, keys, &[20, 24], &[6], &[6]])
}

/// Checks the feed-forward sublayer for odd sizes, one token, no token, and more rows than one partial sum of the
/// weights' gradients takes.
#[test]
fn feed_forward_is_its_parts() {
    for (batch, sequence) in [(2, 37), (1, 1), (0, 5), (3, 100), (2, 1101)] {
        let x: &[usize] = &[batch, sequence, 20];
        let inputs = variables(&[x, &[20], &[33, 20], &[33, 20], &[20, 33]]);
        assert_parity(
            &format!("feed-forward {batch}×{sequence}"),
            &inputs,
            &feed_forward,
        );
    }
}

/// Checks the attention sublayer for all ratios of query to key/value heads, several documents, one token, and no
/// token.
#[test]
fn self_attention_is_its_parts() {
    let sizes = [
        (2, 77, 1),
        (1, 50, 2),
        (2, 65, 4),
        (1, 1, 4),
        (0, 3, 2),
        (9, 77, 2),
    ];
    for (batch, sequence, kv_heads) in sizes {
        let inputs = attention_inputs(batch, sequence, kv_heads);
        let what = format!("self-attention {batch}×{sequence}, {kv_heads} key heads");
        assert_parity(&what, &inputs, &self_attention);
        let inputs = normed_inputs(batch, sequence, kv_heads);
        let what = format!("{what}, with norms of queries and keys");
        assert_parity(&what, &inputs, &self_attention);
    }
}

/// Checks that frozen weights get no gradient and the others the same gradient as when all are trained.
#[test]
fn frozen_weights_leave_the_others_alone() -> Result<()> {
    type Function = fn(Ops, &[Tensor]) -> Result<Tensor>;
    let x: &[usize] = &[2, 37, 20];
    let cases: [(Function, Vec<Var>); 3] = [
        (
            feed_forward,
            variables(&[x, &[20], &[33, 20], &[33, 20], &[20, 33]]),
        ),
        (self_attention, attention_inputs(2, 37, 2)),
        (self_attention, normed_inputs(2, 37, 2)),
    ];
    for (function, inputs) in cases {
        let all = run(&inputs, &|x| function(REFERENCE, x))?;
        for trained in 0..inputs.len() {
            let only = run(&inputs[trained..=trained], &|tracked| {
                let mut tensors: Vec<Tensor> = inputs.iter().map(Var::as_detached_tensor).collect();
                tensors[trained] = tracked[0].clone();
                function(FUSED, &tensors)
            })?;
            assert_close(
                &only[1],
                &all[trained + 1],
                1e-5,
                &format!("only input {trained}"),
            );
        }
    }
    Ok(())
}

/// Checks that the results have the same bits on 1, 2 and 3 threads.
#[test]
fn any_number_of_threads_gives_the_same_bits() -> Result<()> {
    let x: &[usize] = &[3, 200, 20];
    let forward = variables(&[x, &[20], &[33, 20], &[33, 20], &[20, 33]]);
    let attention = attention_inputs(7, 90, 2);
    let normed = normed_inputs(7, 90, 2);
    let on = |threads| -> Result<Vec<Vec<f64>>> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        pool.expect("threads start").install(|| {
            let mut results = run(&forward, &|x| feed_forward(FUSED, x))?;
            results.extend(run(&attention, &|x| self_attention(FUSED, x))?);
            results.extend(run(&normed, &|x| self_attention(FUSED, x))?);
            Ok(results.iter().map(support::values).collect())
        })
    };
    let one = on(1)?;
    assert!(one == on(2)?);
    assert!(one == on(3)?);
    Ok(())
}

/// Checks that weights that two sublayers share get the sum of both gradients.
#[test]
fn shared_weights_get_all_their_gradients() -> Result<()> {
    let x: &[usize] = &[2, 37, 20];
    let inputs = variables(&[x, &[20], &[33, 20], &[33, 20], &[20, 33]]);
    let twice = |ops: Ops| {
        move |x: &[Tensor]| {
            let mut again = x.to_vec();
            again[0] = feed_forward(ops, x)?;
            feed_forward(ops, &again)
        }
    };
    let found = run(&inputs, &twice(FUSED))?;
    let expected = run(&inputs, &twice(REFERENCE))?;
    for (index, (found, expected)) in found.iter().zip(&expected).enumerate() {
        assert_close(found, expected, 1e-5, &format!("shared, {index}"));
    }
    Ok(())
}

/// Checks that a second backward pass of a graph is refused with what it takes.
#[test]
fn a_graph_has_one_backward_pass() -> Result<()> {
    let x: &[usize] = &[2, 37, 20];
    let inputs = variables(&[x, &[20], &[33, 20], &[33, 20], &[20, 33]]);
    let tensors: Vec<Tensor> = inputs.iter().map(|x| x.as_tensor().clone()).collect();
    let sum = feed_forward(FUSED, &tensors)?.sum_all()?;
    sum.backward()?;
    let error = sum.backward().unwrap_err().to_string();
    assert!(
        error.contains("feed-forward") && error.contains("a forward pass of its own"),
        "{error}"
    );
    Ok(())
}
