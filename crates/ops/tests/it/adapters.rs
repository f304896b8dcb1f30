//! Checks adapters in the fused sublayers: LoRA and DoRA, with and without dropout, against the reference, by central
//! differences, on any number of threads, and in parts of the batch.

use std::sync::Arc;

use candle_core::{Device, Result, Tensor, Var};
use polymath_ops::{
    Dropout, FeedForward, Implementation, LowRank, Ops, Placement, Projection, RotaryTable,
    Segments, SelfAttention,
};

use crate::support::{FUSED, REFERENCE, assert_close, assert_parity, run, values, variables};

/// Kind of the adapters of a sublayer.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// Rank of each projection's adapter; 0 for none.
    ranks: [usize; 4],
    has_magnitude: bool,
    dropout: f64,
}

const LORA: Kind = Kind {
    ranks: [2, 3, 1, 5],
    has_magnitude: false,
    dropout: 0.0,
};

pub const KINDS: [Kind; 5] = [
    LORA,
    Kind {
        dropout: 0.3,
        ..LORA
    },
    Kind {
        has_magnitude: true,
        ..LORA
    },
    Kind {
        has_magnitude: true,
        dropout: 0.3,
        ranks: [0, 2, 2, 40],
    },
    Kind {
        ranks: [3, 0, 2, 0],
        ..LORA
    },
];

const HIDDEN: usize = 20;
const INNER: usize = 33;
const HEADS: usize = 24;
const KEYS: usize = 12;

pub const FEED_FORWARD: [[usize; 2]; 3] = [[INNER, HIDDEN], [INNER, HIDDEN], [HIDDEN, INNER]];
pub const ATTENTION: [[usize; 2]; 4] = [
    [HEADS, HIDDEN],
    [KEYS, HIDDEN],
    [KEYS, HIDDEN],
    [HIDDEN, HEADS],
];

/// Returns the shapes of the adapters of projections of these shapes.
fn adapter_shapes(kind: Kind, weights: &[[usize; 2]]) -> Vec<Vec<usize>> {
    let mut shapes = Vec::new();
    for ([outputs, inputs], rank) in weights.iter().zip(kind.ranks) {
        if rank > 0 {
            shapes.push(vec![rank, *inputs]);
            shapes.push(vec![*outputs, rank]);
            if kind.has_magnitude {
                shapes.push(vec![*outputs]);
            }
        }
    }
    shapes
}

/// Returns the inputs of a sublayer: x, the norm, the weights, then the adapters.
pub fn inputs(kind: Kind, (batch, sequence): (usize, usize), weights: &[[usize; 2]]) -> Vec<Var> {
    let mut shapes = vec![vec![batch, sequence, HIDDEN], vec![HIDDEN]];
    shapes.extend(weights.iter().map(|shape| shape.to_vec()));
    shapes.extend(adapter_shapes(kind, weights));
    let shapes: Vec<&[usize]> = shapes.iter().map(|shape| &shape[..]).collect();
    variables(&shapes)
}

/// Returns the projections of weights and adapters in the order of [`inputs`].
fn projections<'a>(
    kind: Kind,
    weights: &'a [Tensor],
    mut adapters: &'a [Tensor],
    seeds: &'a Arc<[u64]>,
) -> Vec<Projection<'a>> {
    let mut projections = Vec::new();
    for (number, weight) in weights.iter().enumerate() {
        let mut projection = Projection::from(weight);
        if kind.ranks[number] > 0 {
            let (own, rest) = adapters.split_at(2 + usize::from(kind.has_magnitude));
            adapters = rest;
            projection.adapter = Some(LowRank {
                a: &own[0],
                b: &own[1],
                scale: 0.5,
                magnitude: own.get(2),
                dropout: (kind.dropout > 0.0).then_some(Dropout {
                    share: kind.dropout,
                    stream: number as u64,
                    seeds,
                }),
            });
        }
        projections.push(projection);
    }
    projections
}

/// Returns the dropout seeds of `rows` rows from `first` on.
fn seeds(first: usize, rows: usize) -> Arc<[u64]> {
    (first..first + rows).map(|row| row as u64 * 77).collect()
}

pub fn feed_forward(kind: Kind, first: usize, ops: Ops, x: &[Tensor]) -> Result<Tensor> {
    let seeds = seeds(first, x[0].dim(0)?);
    let parts = projections(kind, &x[2..5], &x[5..], &seeds);
    let weights = FeedForward {
        norm: &x[1],
        epsilon: 1e-5,
        gate: parts[0],
        up: parts[1],
        down: parts[2],
    };
    ops.feed_forward(&x[0], &weights)
}

pub fn self_attention(kind: Kind, first: usize, ops: Ops, x: &[Tensor]) -> Result<Tensor> {
    let (batch, sequence, _) = x[0].dims3()?;
    let seeds = seeds(first, batch);
    let parts = projections(kind, &x[2..6], &x[6..], &seeds);
    let rotary = RotaryTable::new(&[1.0, 0.4, 0.1], 80, &Device::Cpu)?;
    let places = || (0..batch * sequence).map(|i| i % sequence);
    let positions: Arc<[u32]> = places().map(|i| (i % 30) as u32).collect();
    let starts: Arc<[u32]> = places().map(|i| (i / 30 * 30) as u32).collect();
    let placement = Placement {
        rotary: &rotary,
        positions: &positions,
        segments: &Segments::new(batch, sequence, starts)?,
    };
    let weights = SelfAttention {
        norm: &x[1],
        epsilon: 1e-5,
        query: parts[0],
        key: parts[1],
        value: parts[2],
        output: parts[3],
        query_key_norm: None,
    };
    ops.self_attention(&x[0], &weights, &placement)
}

/// Checks values and all gradients for odd sizes, one token, none, and more rows than gradients are summed over at
/// once.
#[test]
fn adapted_sublayers_are_their_parts() {
    for kind in KINDS {
        for size in [(2, 37), (1, 1), (0, 5), (9, 77), (2, 1101)] {
            let what = format!("{kind:?}, {size:?}");
            let of = inputs(kind, size, &FEED_FORWARD);
            assert_parity(&what, &of, &|ops, x| feed_forward(kind, 0, ops, x));
            if size.1 < 1000 {
                // With one token, the gradients of queries and keys are zero, which rounding hides.
                let size = (size.0, size.1.max(2));
                let of = inputs(kind, size, &ATTENTION);
                assert_parity(&what, &of, &|ops, x| self_attention(kind, 0, ops, x));
            }
        }
    }
}

/// Checks that any one tensor that is trained alone gets the same gradient as when all are.
#[test]
fn frozen_tensors_leave_the_others_alone() -> Result<()> {
    for kind in KINDS {
        for weights in [&FEED_FORWARD[..], &ATTENTION] {
            let of = |ops: Ops, x: &[Tensor]| match weights.len() {
                3 => feed_forward(kind, 0, ops, x),
                _ => self_attention(kind, 0, ops, x),
            };
            let inputs = inputs(kind, (2, 37), weights);
            let all = run(&inputs, &|x| of(REFERENCE, x))?;
            for trained in 0..inputs.len() {
                let only = run(&inputs[trained..=trained], &|tracked| {
                    let mut tensors: Vec<Tensor> =
                        inputs.iter().map(Var::as_detached_tensor).collect();
                    tensors[trained] = tracked[0].clone();
                    of(FUSED, &tensors)
                })?;
                let what = format!("{kind:?}, only input {trained} of {}", inputs.len());
                assert_close(&only[1], &all[trained + 1], 1e-5, &what);
            }
        }
    }
    Ok(())
}

/// Checks that the results have the same bits on 1, 2 and 3 threads.
#[test]
fn any_number_of_threads_gives_the_same_bits() -> Result<()> {
    for kind in KINDS {
        let feeding = inputs(kind, (3, 200), &FEED_FORWARD);
        let attending = inputs(kind, (8, 77), &ATTENTION);
        let on = |threads| -> Result<Vec<Vec<f64>>> {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            pool.expect("threads start").install(|| {
                let mut found = run(&feeding, &|x| feed_forward(kind, 0, FUSED, x))?;
                found.extend(run(&attending, &|x| self_attention(kind, 0, FUSED, x))?);
                Ok(found.iter().map(values).collect())
            })
        };
        let one = on(1)?;
        assert!(one == on(2)?, "{kind:?}");
        assert!(one == on(3)?, "{kind:?}");
    }
    Ok(())
}

/// Checks that a part of a batch is computed as in the whole, with the same elements dropped: to the last bit where the
/// kernels are our own.
#[test]
fn parts_of_a_batch_drop_the_same_elements() -> Result<()> {
    let kind = KINDS[1];
    for ops in [FUSED, REFERENCE] {
        let inputs: Vec<Tensor> = (inputs(kind, (4, 37), &FEED_FORWARD).iter())
            .map(Var::as_detached_tensor)
            .collect();
        let whole = feed_forward(kind, 0, ops, &inputs)?;
        for first in [0, 2] {
            let mut part = inputs.clone();
            part[0] = inputs[0].narrow(0, first, 2)?;
            let found = feed_forward(kind, first, ops, &part)?;
            let expected = whole.narrow(0, first, 2)?;
            assert_close(&found, &expected, 1e-6, &format!("{ops:?} from {first}"));
            if ops.implementation == Implementation::Fused {
                assert!(values(&found) == values(&expected), "{first}");
            }
        }
        let mut part = inputs.clone();
        part[0] = inputs[0].narrow(0, 2, 2)?;
        let other = values(&feed_forward(kind, 0, ops, &part)?);
        assert!(other != values(&whole.narrow(0, 2, 2)?));
    }
    Ok(())
}

/// Checks that adapters that do not fit are refused.
#[test]
fn adapters_that_do_not_fit_are_refused() -> Result<()> {
    let inputs: Vec<Tensor> = (inputs(LORA, (2, 3), &FEED_FORWARD).iter())
        .map(Var::as_detached_tensor)
        .collect();
    for wrong in 5..inputs.len() {
        let mut inputs = inputs.clone();
        inputs[wrong] = Tensor::zeros((7, 9), candle_core::DType::F32, &Device::Cpu)?;
        let error = feed_forward(LORA, 0, FUSED, &inputs).unwrap_err();
        assert!(error.to_string().contains("an adapter of"), "{error}");
    }
    let one = seeds(0, 1);
    let mut parts = projections(KINDS[1], &inputs[2..5], &inputs[5..], &one);
    let weights = FeedForward {
        norm: &inputs[1],
        epsilon: 1e-5,
        gate: parts.remove(0),
        up: parts.remove(0),
        down: parts.remove(0),
    };
    let error = FUSED.feed_forward(&inputs[0], &weights).unwrap_err();
    assert!(error.to_string().contains("`1` seeds"), "{error}");
    Ok(())
}
