//! Tests that the fused operations equal the reference, forward and backward.

use std::sync::Arc;

use candle_core::{Device, Result, Tensor, Var};
use polymath_ops::{IGNORED, Ops, RotaryTable, Segments};

use crate::support;
use crate::support::{
    FUSED, REFERENCE, assert_close, assert_parity, numbers, run, tensor, values, variables,
};

/// Checks linear projections of odd sizes, of one row, and of no row.
#[test]
fn linear() {
    for (rows, inputs, outputs) in [
        (7, 33, 21),
        (1, 5, 3),
        (1, 300, 40),
        (65, 16, 130),
        (0, 4, 6),
    ] {
        let inputs = variables(&[&[rows, inputs], &[outputs, inputs], &[outputs]]);
        assert_parity(&format!("linear of {rows} rows"), &inputs, &|ops, x| {
            ops.linear(&x[0], &x[1], Some(&x[2]))
        });
    }
}

/// Checks linear projections whose input and weight are not contiguous.
#[test]
fn linear_of_strided_inputs() {
    let inputs = variables(&[&[3, 24, 10], &[24, 9]]);
    assert_parity("transposed input and weight", &inputs, &|ops, x| {
        ops.linear(&x[0].transpose(1, 2)?, &x[1].t()?, None)
    });
    let inputs = variables(&[&[6, 5, 40], &[30, 13]]);
    assert_parity("narrowed input and weight", &inputs, &|ops, x| {
        ops.linear(&x[0].narrow(2, 7, 13)?, &x[1].narrow(0, 4, 20)?, None)
    });
}

/// Checks that an untracked operand gets no gradient and the other one its usual gradient.
#[test]
fn linear_with_one_operand_frozen() -> Result<()> {
    let inputs = variables(&[&[9, 12], &[7, 12]]);
    let frozen = inputs[1].as_detached_tensor();
    let y = FUSED.linear(&inputs[0], &frozen, None)?;
    let gradients = y.sum_all()?.backward()?;
    assert!(gradients.get(&inputs[0]).is_some());
    assert!(gradients.get(&frozen).is_none());
    let y = FUSED.linear(&inputs[0].as_detached_tensor(), &inputs[1], None)?;
    let gradients = y.sum_all()?.backward()?;
    assert!(gradients.get(&inputs[1]).is_some());
    // Tracks each of the three operands of a biased layer alone.
    let inputs = variables(&[&[9, 12], &[7, 12], &[7]]);
    let function = |x: &[Tensor]| FUSED.linear(&x[0], &x[1], Some(&x[2]));
    assert_each_alone(&inputs, &function)
}

/// Asserts that each input tracked alone gets the same gradient as when all are tracked.
fn assert_each_alone(inputs: &[Var], function: &dyn Fn(&[Tensor]) -> Result<Tensor>) -> Result<()> {
    let all = run(inputs, function)?;
    for trained in 0..inputs.len() {
        let only = run(&inputs[trained..=trained], &|tracked| {
            let mut tensors: Vec<Tensor> = inputs.iter().map(Var::as_detached_tensor).collect();
            tensors[trained] = tracked[0].clone();
            function(&tensors)
        })?;
        assert_close(&only[1], &all[trained + 1], 0.0, &format!("{trained}"));
    }
    Ok(())
}

/// Checks RMS norms of odd widths, of one element, and of no rows.
#[test]
fn rms_norm() {
    for (rows, width) in [(130, 37), (1, 1), (3, 256), (0, 8)] {
        let inputs = variables(&[&[rows, width], &[width]]);
        assert_parity(&format!("norm of {rows} rows"), &inputs, &|ops, x| {
            ops.rms_norm(&x[0], &x[1], 1e-5)
        });
    }
    let inputs = variables(&[&[5, 9, 4], &[5]]);
    assert_parity("norm of a transposed input", &inputs, &|ops, x| {
        ops.rms_norm(&x[0].transpose(0, 2)?, &x[1], 1e-5)
    });
}

/// Checks layer norms of odd widths, of one element, of no rows, and of a row far from zero, which must keep its
/// precision.
#[test]
fn layer_norm() -> Result<()> {
    for (rows, width) in [(130, 37), (1, 1), (3, 256), (0, 8)] {
        let inputs = variables(&[&[rows, width], &[width], &[width]]);
        let what = format!("layer norm of {rows} rows");
        assert_parity(&what, &inputs, &|ops, x| {
            ops.layer_norm(&x[0], &x[1], &x[2], 1e-5)
        });
    }
    let inputs = variables(&[&[5, 9, 4], &[5], &[5]]);
    assert_parity("layer norm of a transposed input", &inputs, &|ops, x| {
        ops.layer_norm(&x[0].transpose(0, 2)?, &x[1], &x[2], 1e-5)
    });
    let far: Vec<f32> = (0..64).map(|i| [9999.0, 10_001.0][i % 2]).collect();
    let far = Tensor::from_vec(far, (1, 64), &Device::Cpu)?;
    let (ones, zeros) = (
        tensor(&[64], 1).ones_like()?,
        tensor(&[64], 1).zeros_like()?,
    );
    for ops in [FUSED, REFERENCE] {
        let found = values(&ops.layer_norm(&far, &ones, &zeros, 1e-5)?);
        assert!((found[0] + 1.0).abs() < 1e-5 && (found[1] - 1.0).abs() < 1e-5);
    }
    Ok(())
}

/// Checks that an operand of a layer norm that is tracked alone gets its usual gradient.
#[test]
fn layer_norm_with_parts_frozen() -> Result<()> {
    let inputs = variables(&[&[9, 12], &[12], &[12]]);
    let function = |x: &[Tensor]| FUSED.layer_norm(&x[0], &x[1], &x[2], 1e-5);
    assert_each_alone(&inputs, &function)
}

/// Checks GELU of odd lengths, of strided and empty tensors, and of values whose exponential overflows.
#[test]
fn gelu() -> Result<()> {
    for shape in [&[3usize, 37][..], &[1], &[40_000], &[0, 5]] {
        for stretch in [6.0, 300.0] {
            let inputs = variables(&[shape]);
            assert_parity("gelu", &inputs, &|ops, x| ops.gelu(&(&x[0] * stretch)?));
        }
    }
    let inputs = variables(&[&[9, 14]]);
    assert_parity("gelu of a transposed half", &inputs, &|ops, x| {
        ops.gelu(&x[0].narrow(1, 3, 7)?.t()?)
    });
    // Expected values of x/2·(1 + tanh(√(2/π)·(x + 0.044715·x³))), computed with another program.
    let x = Tensor::new(&[-3.0f32, -0.5, 0.0, 1.0, 2.5], &Device::Cpu)?;
    let expected = [
        -0.003_637_392_081,
        -0.154_285_990_2,
        0.0,
        0.841_191_990_6,
        2.484_915_733_9,
    ];
    for (found, expected) in values(&FUSED.gelu(&x)?).iter().zip(expected) {
        assert!((found - expected).abs() < 5e-7, "{found} {expected}");
    }
    Ok(())
}

/// Checks SwiGLU of odd lengths, of strided and of empty tensors.
#[test]
fn swiglu() {
    for shape in [&[3usize, 37][..], &[1], &[40_000], &[0, 5]] {
        let inputs = variables(&[shape, shape]);
        assert_parity("swiglu", &inputs, &|ops, x| {
            ops.swiglu(&(&x[0] * 6.0)?, &x[1])
        });
    }
    let inputs = variables(&[&[9, 14]]);
    assert_parity("swiglu of two halves", &inputs, &|ops, x| {
        ops.swiglu(&x[0].narrow(1, 0, 7)?, &x[0].narrow(1, 7, 7)?)
    });
}

/// Checks rotary embeddings of contiguous and of strided heads.
#[test]
fn rope() -> Result<()> {
    let frequencies: Vec<f64> = (0..3).map(|i| 100f64.powf(-f64::from(i) / 3.0)).collect();
    let table = RotaryTable::new(&frequencies, 50, &Device::Cpu)?;
    for (batch, sequence, heads) in [(2, 33, 3), (1, 1, 1), (0, 4, 2)] {
        let positions: Arc<[u32]> = (0..batch * sequence).map(|i| (i * 7 % 50) as u32).collect();
        let inputs = variables(&[&[batch, sequence, heads, 6]]);
        assert_parity("rope", &inputs, &|ops, x| {
            ops.rope(&x[0], &table, &positions)
        });
        let inputs = variables(&[&[batch, heads, sequence, 6]]);
        assert_parity("rope of a transposed input", &inputs, &|ops, x| {
            ops.rope(&x[0].transpose(1, 2)?, &table, &positions)
        });
    }
    Ok(())
}

/// Checks embeddings whose ids occur once, many times and never.
#[test]
fn embedding() -> Result<()> {
    let inputs = variables(&[&[300, 17]]);
    let ids: Vec<u32> = numbers(90, 5)
        .iter()
        .map(|x| (x.abs() * 40.0) as u32)
        .collect();
    let ids = Tensor::from_vec(ids, (9, 10), &Device::Cpu)?;
    assert_parity("embedding", &inputs, &|ops, x| ops.embedding(&x[0], &ids));
    assert_parity("embedding of strided ids", &inputs, &|ops, x| {
        ops.embedding(&x[0], &ids.t()?)
    });
    let outside = Tensor::new(&[[300u32]], &Device::Cpu)?;
    let error = FUSED
        .embedding(&inputs[0], &outside)
        .unwrap_err()
        .to_string();
    assert!(error.contains("`300`"), "{error}");
    Ok(())
}

fn segments_of(kind: usize, batch: usize, sequence: usize) -> Result<Segments> {
    if kind == 0 {
        return Ok(Segments::causal(batch, sequence, sequence));
    }
    let documents = [1, 3, 40, 70];
    let start = |i: usize| {
        let (row, column) = (i / sequence, i % sequence);
        let length = documents[(row + kind) % documents.len()];
        (column / length * length) as u32
    };
    Segments::new(batch, sequence, (0..batch * sequence).map(start).collect())
}

/// Checks attention over whole rows and packed documents, with all ratios of query to key/value heads, odd sizes, and
/// a sequence of 1.
#[test]
fn attention() -> Result<()> {
    for (sequence, heads, kv_heads, width) in [
        (150, 2, 1, 8),
        (65, 4, 1, 6),
        (129, 2, 2, 20),
        (1, 1, 1, 4),
        (7, 1, 1, 33),
        (64, 4, 2, 32),
    ] {
        for kind in 0..3 {
            let segments = segments_of(kind, 3, sequence)?;
            let keys = &[3, sequence, kv_heads, width];
            let inputs = variables(&[&[3, sequence, heads, width], keys, keys]);
            let what = format!("attention {sequence} {heads}/{kv_heads} {width}, documents {kind}");
            assert_parity(&what, &inputs, &|ops, x| {
                ops.attention(&(&x[0] * 4.0)?, &(&x[1] * 4.0)?, &x[2], &segments)
            });
        }
    }
    Ok(())
}

/// Checks attention whose queries, keys and values are views of one tensor, or have the heads before the positions.
#[test]
fn attention_of_strided_inputs() -> Result<()> {
    let segments = Segments::causal(2, 70, 70);
    let inputs = variables(&[&[2, 70, 8, 16]]);
    assert_parity("attention of a packed tensor", &inputs, &|ops, x| {
        let part = |start, count| x[0].narrow(2, start, count);
        ops.attention(&part(0, 4)?, &part(4, 2)?, &part(6, 2)?, &segments)
    });
    let inputs = variables(&[&[2, 4, 70, 16], &[2, 4, 70, 16], &[2, 70, 16, 4]]);
    assert_parity("attention of transposed heads", &inputs, &|ops, x| {
        let (q, k) = (x[0].transpose(1, 2)?, x[1].transpose(1, 2)?);
        ops.attention(&q, &k, &x[2].transpose(2, 3)?, &segments)
    });
    Ok(())
}

/// Checks attention with a cache of earlier keys, and with an empty batch.
#[test]
fn attention_with_a_cache() {
    for (batch, query, key) in [(2, 1, 90), (1, 5, 131), (0, 3, 3)] {
        let segments = Segments::causal(batch, query, key);
        let keys = &[batch, key, 2, 8];
        let inputs = variables(&[&[batch, query, 4, 8], keys, keys]);
        assert_parity("attention with a cache", &inputs, &|ops, x| {
            ops.attention(&x[0], &x[1], &x[2], &segments)
        });
    }
}

fn targets(tokens: usize, vocabulary: usize, ignored: bool) -> Arc<[u32]> {
    let target = |i: usize| match ignored && i % 3 == 1 {
        true => IGNORED,
        false => (i * 37 % vocabulary) as u32,
    };
    (0..tokens).map(target).collect()
}

/// Checks the cross-entropy with and without ignored targets, over several chunks, scaled, and without any target.
#[test]
fn cross_entropy() {
    for (tokens, width, vocabulary) in [(700, 9, 33), (1, 4, 7), (5, 32, 100)] {
        for ignored in [false, true] {
            let targets = targets(tokens, vocabulary, ignored);
            let inputs = variables(&[&[tokens, width], &[vocabulary, width]]);
            assert_parity("cross-entropy", &inputs, &|ops, x| {
                ops.cross_entropy(&(&x[0] * 3.0)?, &x[1], &targets, 0.0)? * 0.3
            });
            assert_parity("cross-entropy with z-loss", &inputs, &|ops, x| {
                ops.cross_entropy(&(&x[0] * 3.0)?, &x[1], &targets, 0.1)? * 0.3
            });
        }
    }
    let nothing: Arc<[u32]> = vec![IGNORED; 4].into();
    let inputs = variables(&[&[4, 5], &[6, 5]]);
    assert_parity("cross-entropy of nothing", &inputs, &|ops, x| {
        ops.cross_entropy(&x[0], &x[1], &nothing, 0.1)
    });
}

/// Checks that scores agree with the loss, and with the reference on the most likely token.
#[test]
fn score() -> Result<()> {
    let (hidden, weight) = (tensor(&[600, 12], 1), tensor(&[50, 12], 2));
    let targets = targets(600, 50, true);
    let fused = FUSED.score(&hidden, &weight, &targets)?;
    let reference = support::REFERENCE.score(&hidden, &weight, &targets)?;
    assert_eq!(fused.correct, reference.correct);
    assert!(fused.correct.contains(&true));
    for (a, b) in fused.nats.iter().zip(&reference.nats) {
        assert!((a - b).abs() < 1e-5 * b.abs().max(1.0), "{a} {b}");
    }
    let loss = values(&FUSED.cross_entropy(&hidden, &weight, &targets, 0.0)?)[0];
    let sum: f64 = fused.nats.iter().copied().map(f64::from).sum();
    assert!((loss - sum).abs() < 1e-6 * sum);
    Ok(())
}

/// Checks that both implementations round the same values to bf16: they differ only by the order of sums, and little
/// from f32.
#[test]
fn bf16() -> Result<()> {
    let bf16 = |ops: Ops| Ops {
        precision: polymath_ops::Precision::Bf16,
        ..ops
    };
    let inputs = variables(&[&[50, 40], &[30, 40]]);
    assert_parity("linear in bf16", &inputs, &|ops, x| {
        bf16(ops).linear(&x[0], &x[1], None)
    });
    let exact = FUSED.linear(&inputs[0], &inputs[1], None)?;
    let rounded = bf16(FUSED).linear(&inputs[0], &inputs[1], None)?;
    let error: f64 = values(&(exact - rounded)?)
        .iter()
        .map(|x| x.abs())
        .fold(0.0, f64::max);
    assert!(error > 1e-5 && error < 0.05, "{error}");
    let targets = targets(50, 30, true);
    let loss = |ops: Ops, x: &[Tensor]| bf16(ops).cross_entropy(&x[0], &x[1], &targets, 0.0);
    let fused = support::run(&inputs, &|x| loss(FUSED, x))?;
    let reference = support::run(&inputs, &|x| loss(support::REFERENCE, x))?;
    for (fused, reference) in fused.iter().zip(&reference) {
        support::assert_close(fused, reference, 4e-3, "cross-entropy in bf16");
    }
    let inputs = variables(&[&[1, 70, 2, 16], &[1, 70, 2, 16], &[1, 70, 2, 16]]);
    let segments = Segments::causal(1, 70, 70);
    let attend = |ops: Ops, x: &[Tensor]| bf16(ops).attention(&x[0], &x[1], &x[2], &segments);
    let fused = support::run(&inputs, &|x| attend(FUSED, x))?;
    let reference = support::run(&inputs, &|x| attend(support::REFERENCE, x))?;
    for (fused, reference) in fused.iter().zip(&reference) {
        support::assert_close(fused, reference, 2e-2, "attention in bf16");
    }
    Ok(())
}
