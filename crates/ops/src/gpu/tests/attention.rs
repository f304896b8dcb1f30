use std::sync::Arc;

use candle_core::{DType, Tensor};

use super::{BF16, F32, assert_kernels, kernels, launches, numbers, relative, with_gradients};
use crate::{Ops, Precision, Segments};

/// Sizes of a call, and the keys that each query sees.
struct Layout {
    name: &'static str,
    batch: usize,
    query: usize,
    key: usize,
    segments: Segments,
}

impl Layout {
    fn new(name: &'static str, segments: Segments) -> Self {
        let (batch, query, key) = segments.dims();
        Self {
            name,
            batch,
            query,
            key,
            segments,
        }
    }

    fn inputs(&self, heads: usize, kv_heads: usize, head_dim: usize) -> [Tensor; 3] {
        let of_keys = [self.batch, self.key, kv_heads, head_dim];
        [
            (numbers(&[self.batch, self.query, heads, head_dim], 1) * 2.0).unwrap(),
            (numbers(&of_keys, 2) * 2.0).unwrap(),
            numbers(&of_keys, 3),
        ]
    }
}

/// Returns documents that begin within a tile, at its edge, and one position after another.
fn packed(batch: usize, length: usize) -> Segments {
    let begins = [0, 5, 6, 64, 70, 129];
    let starts: Arc<[u32]> = (0..batch * length)
        .map(|at| (at % length, at / length))
        .map(|(column, row)| {
            let begins = begins
                .iter()
                .map(|begin| begin + 3 * row as u32 * (*begin > 0) as u32);
            begins
                .filter(|begin| *begin as usize <= column)
                .max()
                .unwrap()
        })
        .collect();
    Segments::new(batch, length, starts).unwrap()
}

fn layouts() -> Vec<Layout> {
    vec![
        Layout::new("packed", packed(2, 150)),
        Layout::new("packed, windowed", packed(2, 150).windowed(40)),
        Layout::new("windowed", Segments::causal(1, 200, 200).windowed(65)),
        Layout::new("whole tiles", Segments::causal(1, 128, 128)),
        Layout::new("after a cache", Segments::causal(2, 3, 140)),
        Layout::new(
            "a window after a cache",
            Segments::causal(1, 70, 140).windowed(20),
        ),
        Layout::new("one", Segments::causal(3, 1, 1)),
    ]
}

fn attend(ops: Ops, x: &[&Tensor], segments: &Segments) -> candle_core::Result<Tensor> {
    ops.attention(x[0], x[1], x[2], segments)
}

/// Checks both sizes of tiles, with all layouts and grouped queries.
fn assert_layouts(bounds: (Precision, f64)) {
    for layout in layouts() {
        for head_dim in [16, 96] {
            let name = format!("{}, heads of {head_dim}", layout.name);
            let inputs = layout.inputs(4, 2, head_dim);
            assert_kernels(&name, &inputs, bounds, |ops, x| {
                attend(ops, x, &layout.segments)
            });
        }
    }
}

#[test]
fn layouts_match_f64() {
    assert_layouts((Precision::Bf16, BF16));
}

#[test]
fn layouts_match_f64_in_f32() {
    assert_layouts((Precision::F32, F32));
}

/// Checks every compiled dimension, with and without padding, with shared and with separate key/value heads.
#[test]
fn dimensions_match_f64() {
    let layout = Layout::new("packed", packed(1, 100));
    for head_dim in [8, 16, 24, 32, 64, 96, 128] {
        for (heads, kv_heads) in [(3, 1), (2, 2)] {
            let inputs = layout.inputs(heads, kv_heads, head_dim);
            let forward = |ops| with_gradients_of(ops, &inputs, &layout.segments);
            let expected = with_gradients(&inputs, DType::F64, |x| {
                attend(super::reference(), x, &layout.segments)
            });
            for (precision, tolerance) in [(Precision::Bf16, BF16), (Precision::F32, F32)] {
                for (found, expected) in forward(kernels(precision)).iter().zip(&expected) {
                    let error = relative(found, expected);
                    assert!(
                        error <= tolerance,
                        "heads of {head_dim} in {precision}, {heads} over {kv_heads}: {error:e}"
                    );
                }
            }
        }
    }
}

fn with_gradients_of(ops: Ops, inputs: &[Tensor], segments: &Segments) -> Vec<Tensor> {
    with_gradients(inputs, DType::F32, |x| attend(ops, x, segments))
}

/// Checks that the reference computes cases without a kernel: odd dimensions, documents out of order.
#[test]
fn other_shapes_are_composed() {
    let odd: Arc<[u32]> = vec![0, 1, 0, 2].into();
    let cases = [
        (Segments::causal(1, 5, 5), 12, Precision::Bf16),
        (Segments::causal(1, 5, 5), 136, Precision::F32),
        (Segments::new(1, 4, odd).unwrap(), 16, Precision::Bf16),
    ];
    for (segments, head_dim, precision) in cases {
        let layout = Layout::new("other", segments);
        let inputs = layout.inputs(2, 1, head_dim);
        let ops = kernels(precision);
        launches();
        let x: Vec<&Tensor> = inputs.iter().collect();
        let found = attend(ops, &x, &layout.segments).unwrap();
        assert_eq!(launches().unwrap_or(0), 0, "{head_dim} at {precision}");
        let expected = attend(super::reference(), &x, &layout.segments).unwrap();
        assert!(relative(&found, &expected) <= 2.0 * BF16);
    }
}

/// Checks that NaN in a key reaches the queries that see it, and no others.
#[test]
fn nan_stays_nan() {
    let segments = Segments::new(1, 4, vec![0, 0, 2, 2].into()).unwrap();
    let x = numbers(&[1, 4, 1, 16], 1);
    let broken = Tensor::full(f32::NAN, (1, 1, 1, 16), x.device()).unwrap();
    let k = Tensor::cat(
        &[
            &x.narrow(1, 0, 1).unwrap(),
            &broken,
            &x.narrow(1, 2, 2).unwrap(),
        ],
        1,
    );
    let found = attend(kernels(Precision::Bf16), &[&x, &k.unwrap(), &x], &segments).unwrap();
    let rows = found
        .sum(3)
        .unwrap()
        .flatten_all()
        .unwrap()
        .to_vec1::<f32>()
        .unwrap();
    let is_nan: Vec<bool> = rows.iter().map(|row| row.is_nan()).collect();
    assert_eq!(is_nan, [false, true, false, false]);
}
