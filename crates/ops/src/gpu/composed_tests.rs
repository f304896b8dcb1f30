use std::sync::Arc;

use candle_core::{D, DType, Device, Result, Tensor, Var};

use super::composed_attention::attention;
use super::composed_loss::cross_entropy;
use crate::targets::IGNORED;
use crate::{Precision, Segments, reference};

/// Numbers without a pattern, about as large as 1.
fn numbers(shape: &[usize], seed: usize, dtype: DType) -> Var {
    let count = shape.iter().product::<usize>();
    let value = |at: usize| ((at * 7919 + seed * 104_729) % 2003) as f64 / 1000.0 - 1.0;
    let values: Vec<f64> = (0..count).map(value).collect();
    let tensor = Tensor::from_vec(values, shape, &Device::Cpu).unwrap();
    Var::from_tensor(&tensor.to_dtype(dtype).unwrap()).unwrap()
}

/// The largest difference, which is NaN where one side alone is.
fn difference(a: &Tensor, b: &Tensor) -> f64 {
    assert_eq!(a.dims(), b.dims());
    let values = |x: &Tensor| {
        let x = x.flatten_all().unwrap().to_dtype(DType::F64).unwrap();
        x.to_vec1::<f64>().unwrap()
    };
    let pairs = values(a).into_iter().zip(values(b));
    pairs
        .filter(|(a, b)| !(a.is_nan() && b.is_nan()))
        .fold(0.0, |most: f64, (a, b)| {
            if (a - b).is_nan() {
                f64::NAN
            } else {
                most.max((a - b).abs())
            }
        })
}

/// The output, and the gradients of Σ output·numbers.
fn with_gradients(variables: &[&Var], forward: impl Fn() -> Result<Tensor>) -> Vec<Tensor> {
    let output = forward().unwrap();
    let weights = numbers(output.dims(), 9, output.dtype());
    let sum = (&output * weights.as_detached_tensor()).unwrap().sum_all();
    let gradients = sum.unwrap().backward().unwrap();
    let found = variables.iter().map(|x| gradients.get(x).unwrap().clone());
    std::iter::once(output).chain(found).collect()
}

/// Each result is the expected one to within a share of its largest element; where that is nothing, to within a tenth
/// of the share of what the other results have, since rounding leaves something of what cancels.
fn assert_alike(found: &[Tensor], expected: &[Tensor], share: f64, what: &str) {
    let largest_of = |x: &Tensor| difference(x, &x.zeros_like().unwrap());
    let largest_of_all = expected.iter().map(largest_of).fold(0.0, f64::max);
    for (place, (found, expected)) in found.iter().zip(expected).enumerate() {
        let largest = match largest_of(expected) {
            0.0 => largest_of_all / 10.0,
            largest => largest,
        };
        let apart = difference(found, expected);
        assert!(
            apart <= share * largest,
            "{what}, {place}: {apart} where the largest is {largest}"
        );
    }
}

/// Packed documents, one document, a window, keys before the first query, one position, none; shared key/value heads.
fn layouts() -> Vec<(usize, usize, usize, Segments)> {
    let starts: Arc<[u32]> = (0..22).map(|at| if at % 11 < 4 { 0 } else { 4 }).collect();
    let packed = Segments::new(2, 11, starts).unwrap();
    vec![
        (2, 11, 11, packed.clone()),
        (2, 11, 11, packed.windowed(3)),
        (3, 5, 5, Segments::causal(3, 5, 5)),
        (1, 2, 9, Segments::causal(1, 2, 9)),
        (1, 1, 1, Segments::causal(1, 1, 1)),
        (0, 4, 4, Segments::causal(0, 4, 4)),
    ]
}

#[test]
fn attention_is_that_of_the_composition() {
    for (batch, query, key, segments) in layouts() {
        for (heads, kv_heads) in [(6, 2), (4, 4), (1, 1)] {
            for (dtype, precision, share) in [
                (DType::F64, Precision::F32, 1e-13),
                (DType::F32, Precision::Bf16, 2e-2),
            ] {
                let q = numbers(&[batch, query, heads, 6], 1, dtype);
                let k = numbers(&[batch, key, kv_heads, 6], 2, dtype);
                let v = numbers(&[batch, key, kv_heads, 6], 3, dtype);
                let tensors = [q.as_tensor(), k.as_tensor(), v.as_tensor()];
                let what =
                    format!("{batch} × {query} of {key}, {heads} over {kv_heads}, {precision:?}");
                if batch == 0 {
                    let found = attention(tensors, &segments, precision).unwrap();
                    assert_eq!(found.dims(), q.dims());
                    continue;
                }
                let variables = [&q, &k, &v];
                let found = with_gradients(&variables, || attention(tensors, &segments, precision));
                let expected = with_gradients(&variables, || {
                    reference::attention(tensors, &segments, precision)
                });
                assert_alike(&found, &expected, share, &what);
            }
        }
    }
}

#[test]
fn cross_entropy_is_that_of_the_composition() {
    let (tokens, vocabulary) = (2600, 31); // more than two pieces
    for ignored in [None, Some(3), Some(1)] {
        let target = |at: usize| match ignored {
            Some(every) if at.is_multiple_of(every) => IGNORED,
            _ => (at * 13 % vocabulary) as u32,
        };
        let targets: Arc<[u32]> = (0..tokens).map(target).collect();
        for (dtype, precision, share) in [
            (DType::F64, Precision::F32, 1e-12),
            (DType::F32, Precision::Bf16, 2e-2),
        ] {
            for z_loss in [0.0, 0.01] {
                let hidden = numbers(&[tokens, 8], 4, dtype);
                let weight = numbers(&[vocabulary, 8], 5, dtype);
                let with = (&targets, z_loss);
                let found = with_gradients(&[&hidden, &weight], || {
                    cross_entropy(&hidden, &weight, with, precision)
                });
                let expected = with_gradients(&[&hidden, &weight], || {
                    reference::cross_entropy(&hidden, &weight, with, precision)
                });
                let what = format!("ignored {ignored:?}, {precision:?}, z-loss {z_loss}");
                assert_alike(&found, &expected, share, &what);
            }
        }
    }
}

/// Checks that an untracked operand gets no gradient, and that the gradient of the other operand is unchanged.
#[test]
fn one_side_may_stay() {
    let targets: Arc<[u32]> = Arc::from([1, 2, 0]);
    let hidden = numbers(&[3, 8], 4, DType::F64);
    let weight = numbers(&[5, 8], 5, DType::F64);
    let (still_hidden, still_weight) = (hidden.as_detached_tensor(), weight.as_detached_tensor());
    let loss = |hidden: &Tensor, weight: &Tensor| {
        cross_entropy(hidden, weight, (&targets, 0.0), Precision::F32).unwrap()
    };
    let both = loss(&hidden, &weight).backward().unwrap();
    let one = loss(&hidden, &still_weight).backward().unwrap();
    assert_eq!(
        difference(one.get(&hidden).unwrap(), both.get(&hidden).unwrap()),
        0.0
    );
    let other = loss(&still_hidden, &weight).backward().unwrap();
    assert_eq!(
        difference(other.get(&weight).unwrap(), both.get(&weight).unwrap()),
        0.0
    );
    let none = loss(&still_hidden, &still_weight);
    assert_eq!(difference(&none, &loss(&hidden, &weight)), 0.0);
}

/// Checks that a NaN in an input gives a NaN in the loss, and in the row of attention that attends to it.
#[test]
fn nan_stays_nan() {
    let targets: Arc<[u32]> = Arc::from([1, 2]);
    let hidden = numbers(&[2, 8], 4, DType::F32);
    let weight = numbers(&[5, 8], 5, DType::F32);
    let broken = Tensor::full(f32::NAN, (1, 8), &Device::Cpu).unwrap();
    let broken_weight = Tensor::cat(&[&weight.narrow(0, 0, 4).unwrap(), &broken], 0).unwrap();
    let loss = cross_entropy(&hidden, &broken_weight, (&targets, 0.0), Precision::F32).unwrap();
    assert!(loss.to_scalar::<f32>().unwrap().is_nan());

    let x = numbers(&[1, 3, 1, 4], 1, DType::F32);
    let last = Tensor::full(f32::NAN, (1, 1, 1, 4), &Device::Cpu).unwrap();
    let k = Tensor::cat(&[&x.narrow(1, 0, 2).unwrap(), &last], 1).unwrap();
    let segments = Segments::causal(1, 3, 3);
    let found = attention([&x, &k, &x], &segments, Precision::F32).unwrap();
    let rows = found.sum(D::Minus1).unwrap().flatten_all().unwrap();
    let rows: Vec<bool> = rows
        .to_vec1::<f32>()
        .unwrap()
        .iter()
        .map(|row| row.is_nan())
        .collect();
    assert!(rows[2]);
}
