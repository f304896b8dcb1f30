//! Tests of attention with a sliding window: against its definition, across tile boundaries, with documents and
//! caches, and without computing the tiles outside of the window.

use candle_core::{DType, Device, Result, Tensor, Var};
use polymath_ops::{Ops, Precision, Segments};

use crate::support::{
    FUSED, REFERENCE, assert_close, assert_parity, run, tensor, values, variables,
};

/// Window lengths around those of the tiles (48 queries, 64 keys), the smallest, and some longer than any row.
const WINDOWS: [usize; 11] = [1, 2, 31, 47, 48, 63, 64, 65, 113, 500, usize::MAX];

/// Returns the first index of the document that contains `column`, for documents of `length` tokens.
fn start(column: usize, length: usize) -> usize {
    column / length * length
}

fn documents(batch: usize, sequence: usize, length: usize) -> Result<Segments> {
    let starts = (0..batch * sequence).map(|at| start(at % sequence, length) as u32);
    Segments::new(batch, sequence, starts.collect())
}

/// Returns softmax(q·kᵀ/√d)·v in f64, one query after the other, over the keys j of its document with i − window < j
/// ≤ i.
fn by_definition(
    [q, k, v]: [&Tensor; 3],
    window: usize,
    start: impl Fn(usize) -> usize,
) -> Result<Tensor> {
    let (batch, queries, heads, width) = q.dims4()?;
    let (_, keys, kv_heads, _) = k.dims4()?;
    let (q, k, v) = (values(q), values(k), values(v));
    let mut y = Vec::with_capacity(q.len());
    for (row, query, head) in (0..batch)
        .flat_map(|row| (0..queries).map(move |query| (row, query)))
        .flat_map(|(row, query)| (0..heads).map(move |head| (row, query, head)))
    {
        let of_query = &q[((row * queries + query) * heads + head) * width..][..width];
        let at = |key: usize| {
            let kv_head = head / (heads / kv_heads);
            ((row * keys + key) * kv_heads + kv_head) * width
        };
        let place = keys - queries + query;
        let seen: Vec<usize> = (0..keys)
            .filter(|&j| j <= place && j + window.min(keys) > place && j >= start(place))
            .collect();
        let weights: Vec<f64> = seen
            .iter()
            .map(|&key| {
                let score: f64 = (0..width).map(|i| of_query[i] * k[at(key) + i]).sum();
                (score / (width as f64).sqrt()).exp()
            })
            .collect();
        let sum: f64 = weights.iter().sum();
        for i in 0..width {
            let mixed = seen
                .iter()
                .zip(&weights)
                .map(|(&key, weight)| weight * v[at(key) + i]);
            y.push(mixed.sum::<f64>() / sum);
        }
    }
    Tensor::from_vec(y, (batch, queries, heads, width), &Device::Cpu)
}

/// Checks that both implementations equal the definition, for all windows, single and packed documents, and groups of
/// heads.
#[test]
fn windows_match_the_definition() -> Result<()> {
    let (batch, sequence, width) = (2, 150, 6);
    for (heads, kv_heads) in [(4, 1), (2, 2)] {
        let q = (tensor(&[batch, sequence, heads, width], 1) * 4.0)?;
        let k = (tensor(&[batch, sequence, kv_heads, width], 2) * 4.0)?;
        let v = tensor(&[batch, sequence, kv_heads, width], 3);
        for window in WINDOWS {
            for length in [sequence, 70, 3] {
                let expected = by_definition([&q, &k, &v], window, |at| start(at, length))?;
                let segments = documents(batch, sequence, length)?.windowed(window);
                for ops in [FUSED, REFERENCE] {
                    let y = ops.attention(&q, &k, &v, &segments)?;
                    let what = format!("{ops:?}, window {window}, documents of {length}");
                    assert_close(&y, &expected, 1e-5, &what);
                }
            }
        }
    }
    Ok(())
}

/// Checks that the fused gradients equal those of the reference across tile boundaries, for all groups of heads.
#[test]
fn gradients_are_those_of_the_composition() -> Result<()> {
    for (sequence, heads, kv_heads, width) in [(150, 2, 1, 8), (65, 4, 1, 6), (129, 2, 2, 20)] {
        let keys: &[usize] = &[2, sequence, kv_heads, width];
        let inputs = variables(&[&[2, sequence, heads, width], keys, keys]);
        for window in WINDOWS {
            for length in [sequence, 40] {
                let segments = documents(2, sequence, length)?.windowed(window);
                let what = format!("{sequence} of {length}, window {window}, {heads}/{kv_heads}");
                assert_parity(&what, &inputs, &|ops, x| {
                    ops.attention(&(&x[0] * 2.0)?, &(&x[1] * 2.0)?, &x[2], &segments)
                });
            }
        }
    }
    Ok(())
}

/// Checks that the reference gradients in f64 equal the central differences of the definition.
#[test]
fn gradients_are_slopes_of_the_definition() -> Result<()> {
    const STEP: f64 = 1e-5;
    for window in [1, 2, 4] {
        let keys: &[usize] = &[1, 7, 2, 3];
        let inputs: Vec<Var> = variables(&[&[1, 7, 4, 3], keys, keys])
            .iter()
            .map(|input| Var::from_tensor(&input.to_dtype(DType::F64)?))
            .collect::<Result<_>>()?;
        let segments = documents(1, 7, 5)?.windowed(window);
        let exact = run(&inputs, &|x| {
            REFERENCE.attention(&x[0], &x[1], &x[2], &segments)
        })?;
        let objective = |inputs: &[Tensor]| -> Result<f64> {
            let y = by_definition([&inputs[0], &inputs[1], &inputs[2]], window, |at| {
                start(at, 5)
            })?;
            let weights = values(&tensor(y.dims(), 99));
            Ok(values(&y).iter().zip(weights).map(|(y, r)| y * r).sum())
        };
        let middle: Vec<Tensor> = inputs.iter().map(|x| x.as_detached_tensor()).collect();
        for which in 0..3 {
            let numbers = values(&middle[which]);
            let slope = |at: usize| -> Result<f64> {
                let moved = |offset: f64| -> Result<f64> {
                    let mut numbers = numbers.clone();
                    numbers[at] += offset;
                    let mut inputs = middle.clone();
                    inputs[which] = Tensor::from_vec(numbers, middle[which].dims(), &Device::Cpu)?;
                    objective(&inputs)
                };
                Ok((moved(STEP)? - moved(-STEP)?) / (2.0 * STEP))
            };
            let slopes = (0..numbers.len()).map(slope).collect::<Result<Vec<_>>>()?;
            let slopes = Tensor::from_vec(slopes, middle[which].dims(), &Device::Cpu)?;
            let what = format!("window {window}, input {which}");
            assert_close(&exact[which + 1], &slopes, 1e-7, &what);
        }
    }
    Ok(())
}

/// Checks that queries after a cache see only the cached keys within their window.
#[test]
fn caches_are_seen_through_the_window() -> Result<()> {
    for (batch, query, key) in [(2, 1, 200), (1, 5, 131), (1, 60, 190)] {
        let keys: &[usize] = &[batch, key, 2, 8];
        let inputs = variables(&[&[batch, query, 4, 8], keys, keys]);
        for window in WINDOWS {
            let segments = Segments::causal(batch, query, key).windowed(window);
            let attend = |ops: Ops, x: &[Tensor]| ops.attention(&x[0], &x[1], &x[2], &segments);
            let what = format!("{query} behind {key}, window {window}");
            assert_parity(&what, &inputs, &attend);
            let [q, k, v] = [0, 1, 2].map(|which: usize| inputs[which].as_detached_tensor());
            let y = attend(FUSED, &[q.clone(), k.clone(), v.clone()])?;
            let expected = by_definition([&q, &k, &v], window, |_| 0)?;
            assert_close(&y, &expected, 1e-5, &what);
        }
    }
    Ok(())
}

/// Checks that tiles outside of the window are skipped: a NaN there stays out of the results, forward and backward.
#[test]
fn work_outside_of_the_window_is_left_out() -> Result<()> {
    let sequence = 400;
    let shape: &[usize] = &[1, sequence, 1, 8];
    for precision in [Precision::F32, Precision::Bf16] {
        let ops = Ops { precision, ..FUSED };
        let inputs = variables(&[shape; 3]);
        for which in [1, 2] {
            let numbers = values(&inputs[which]);
            let poisoned = numbers.iter().enumerate();
            // A NaN in the first key or value lies in the first tile of keys, which no query from 112 on sees.
            let poisoned = poisoned.map(|(at, x)| if at < 8 { f32::NAN } else { *x as f32 });
            let poisoned = Tensor::from_iter(poisoned, &Device::Cpu)?.reshape(shape)?;
            inputs[which].set(&poisoned)?;
        }
        let segments = Segments::causal(1, sequence, sequence).windowed(48);
        let results = run(&inputs, &|x| ops.attention(&x[0], &x[1], &x[2], &segments))?;
        for (number, result) in results.iter().enumerate() {
            let rest = result.narrow(1, 144, sequence - 144)?;
            assert!(
                values(&rest).iter().all(|x| x.is_finite()),
                "{precision:?}, result {number}"
            );
            assert!(values(result).iter().any(|x| x.is_nan()), "{number}");
        }
    }
    Ok(())
}
