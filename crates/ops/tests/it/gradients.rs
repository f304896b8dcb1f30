//! Tests of gradients: the reference in f64 against central differences, and the fused implementation in f32 against
//! the reference in f64.

use std::sync::Arc;

use candle_core::{DType, Device, Result, Tensor, Var};
use polymath_ops::{
    Dropout, FeedForward, IGNORED, LowRank, Ops, Placement, Projection, RotaryTable, Segments,
    SelfAttention, recomputed,
};

use crate::support::{FUSED, REFERENCE, assert_close, run, tensor, values, variables};

type Function<'a> = &'a dyn Fn(Ops, &[Tensor]) -> Result<Tensor>;

/// Returns Σ output·r for a fixed random r: the scalar that is differentiated.
fn objective(inputs: &[Tensor], function: Function) -> f64 {
    let output = function(REFERENCE, inputs).expect("an output");
    let weights = values(&tensor(output.dims(), 99));
    values(&output)
        .iter()
        .zip(weights)
        .map(|(y, r)| y * r)
        .sum()
}

/// Returns the central differences of the objective by one input, element by element.
fn differences(inputs: &[Tensor], which: usize, function: Function) -> Result<Tensor> {
    const STEP: f64 = 1e-5;
    let middle = values(&inputs[which]);
    let mut slopes = Vec::new();
    for i in 0..middle.len() {
        let at = |offset: f64| -> Result<f64> {
            let mut moved = middle.clone();
            moved[i] += offset;
            let mut inputs = inputs.to_vec();
            inputs[which] = Tensor::from_vec(moved, inputs[which].dims(), &Device::Cpu)?;
            Ok(objective(&inputs, function))
        };
        slopes.push((at(STEP)? - at(-STEP)?) / (2.0 * STEP));
    }
    Tensor::from_vec(slopes, inputs[which].dims(), &Device::Cpu)
}

fn check(what: &str, shapes: &[&[usize]], function: Function) -> Result<()> {
    let inputs = variables(shapes);
    let wide: Vec<Tensor> = inputs
        .iter()
        .map(|input| input.as_detached_tensor().to_dtype(DType::F64))
        .collect::<Result<_>>()?;
    let wide_variables: Vec<Var> = wide.iter().map(Var::from_tensor).collect::<Result<_>>()?;
    let exact = run(&wide_variables, &|x| function(REFERENCE, x))?;
    for which in 0..inputs.len() {
        let slopes = differences(&wide, which, function)?;
        let what = format!("reference {what}, input {which}");
        assert_close(&exact[which + 1], &slopes, 1e-7, &what);
    }
    let fused = run(&inputs, &|x| function(FUSED, x))?;
    for (i, (fused, exact)) in fused.iter().zip(&exact).enumerate() {
        assert_close(fused, exact, 1e-5, &format!("fused {what}, result {i}"));
    }
    Ok(())
}

/// Checks the gradients of every operation on a small example of odd sizes.
#[test]
fn every_operation() -> Result<()> {
    check("linear", &[&[3, 5], &[4, 5], &[4]], &|ops, x| {
        ops.linear(&x[0], &x[1], Some(&x[2]))
    })?;
    check("rms_norm", &[&[3, 7], &[7]], &|ops, x| {
        ops.rms_norm(&x[0], &x[1], 1e-3)
    })?;
    check("layer_norm", &[&[3, 7], &[7], &[7]], &|ops, x| {
        ops.layer_norm(&(&x[0] + 2.0)?, &x[1], &x[2], 1e-3)
    })?;
    check("gelu", &[&[2, 9]], &|ops, x| ops.gelu(&(&x[0] * 5.0)?))?;
    check("swiglu", &[&[2, 9], &[2, 9]], &|ops, x| {
        ops.swiglu(&(&x[0] * 3.0)?, &x[1])
    })?;
    let table = RotaryTable::new(&[1.0, 0.3], 9, &Device::Cpu)?;
    let positions: Arc<[u32]> = vec![0, 5, 8, 2, 1, 7].into();
    check("rope", &[&[2, 3, 2, 4]], &|ops, x| {
        ops.rope(&x[0], &table, &positions)
    })?;
    let ids = Tensor::new(&[[0u32, 3, 3], [1, 0, 3]], &Device::Cpu)?;
    check("embedding", &[&[5, 3]], &|ops, x| {
        ops.embedding(&x[0], &ids)
    })?;
    let segments = Segments::new(2, 5, vec![0, 0, 2, 2, 2, 0, 0, 0, 0, 4].into())?;
    for kv_heads in [1, 2, 4] {
        let keys: &[usize] = &[2, 5, kv_heads, 3];
        check("attention", &[&[2, 5, 4, 3], keys, keys], &|ops, x| {
            ops.attention(&(&x[0] * 3.0)?, &x[1], &x[2], &segments)
        })?;
    }
    let targets: Arc<[u32]> = vec![1, IGNORED, 6, 0].into();
    check("cross-entropy", &[&[4, 3], &[7, 3]], &|ops, x| {
        ops.cross_entropy(&x[0], &x[1], &targets, 0.0)
    })?;
    check(
        "cross-entropy with z-loss",
        &[&[4, 3], &[7, 3]],
        &|ops, x| ops.cross_entropy(&x[0], &x[1], &targets, 0.2),
    )
}

/// Checks the gradients of both sublayers of a block, with and without query and key norms, and of a recomputed
/// function.
#[test]
fn sublayers_of_a_block() -> Result<()> {
    let rotary = RotaryTable::new(&[1.0, 0.3], 9, &Device::Cpu)?;
    let positions: Arc<[u32]> = vec![0, 1, 0, 1, 2, 0, 1, 2, 3, 0].into();
    let segments = Segments::new(2, 5, vec![0, 0, 2, 2, 2, 0, 0, 0, 0, 4].into())?;
    let placement = Placement {
        rotary: &rotary,
        positions: &positions,
        segments: &segments,
    };
    let attention = |ops: Ops, x: &[Tensor]| {
        let weights = SelfAttention {
            norm: &x[1],
            epsilon: 1e-3,
            query: (&x[2]).into(),
            key: (&x[3]).into(),
            value: (&x[4]).into(),
            output: (&x[5]).into(),
            query_key_norm: (x.len() > 6).then(|| (&x[6], &x[7])),
        };
        ops.self_attention(&x[0], &weights, &placement)
    };
    let mut shapes: Vec<&[usize]> = vec![&[2, 5, 6], &[6], &[8, 6], &[4, 6], &[4, 6], &[6, 8]];
    check("self-attention", &shapes, &attention)?;
    shapes.extend([&[4][..], &[4]]);
    check("self-attention with norms of heads", &shapes, &attention)?;
    let forward = |ops: Ops, x: &[Tensor]| {
        let weights = FeedForward {
            norm: &x[1],
            epsilon: 1e-3,
            gate: (&x[2]).into(),
            up: (&x[3]).into(),
            down: (&x[4]).into(),
        };
        ops.feed_forward(&x[0], &weights)
    };
    let shapes: [&[usize]; 5] = [&[2, 5, 6], &[6], &[9, 6], &[9, 6], &[6, 9]];
    check("feed-forward", &shapes, &forward)?;
    check("feed-forward, recomputed", &shapes, &|ops, x| {
        recomputed(&x[0], &x[1..], move |x, weights| {
            let all: Vec<Tensor> = std::iter::once(x).chain(weights).cloned().collect();
            forward(ops, &all)
        })
    })
}

/// Checks projections with an adapter: with dropout, and with the magnitudes of DoRA, whose norms are constants.
#[test]
fn projections_with_adapters() -> Result<()> {
    let seeds: Arc<[u64]> = vec![3, 4].into();
    let adapter = |x: &[Tensor], dropout: bool, ops: Ops| {
        let projection = Projection {
            weight: &x[1],
            bias: None,
            adapter: Some(LowRank {
                a: &x[2],
                b: &x[3],
                scale: 0.7,
                magnitude: x.get(4),
                dropout: dropout.then_some(Dropout {
                    share: 0.4,
                    stream: 5,
                    seeds: &seeds,
                }),
            }),
        };
        ops.project(&x[0], &projection)
    };
    let shapes: [&[usize]; 4] = [&[2, 3, 6], &[5, 6], &[2, 6], &[5, 2]];
    check("adapter", &shapes, &|ops, x| adapter(x, false, ops))?;
    check("adapter with dropout", &shapes, &|ops, x| {
        adapter(x, true, ops)
    })?;
    let constant = [2, 3, 4].map(|seed| tensor(shapes[seed - 1], seed as u64));
    let shapes: [&[usize]; 2] = [&[2, 3, 6], &[5]];
    check("adapter with magnitudes", &shapes, &|ops, x| {
        let mut all = vec![x[0].clone()];
        for part in &constant {
            all.push(part.to_dtype(x[0].dtype())?);
        }
        all.push(x[1].clone());
        adapter(&all, false, ops)
    })
}
