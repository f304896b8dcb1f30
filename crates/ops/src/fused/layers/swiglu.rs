//! SwiGLU: gated activation of the feed-forward block.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};

use crate::fused::simd::chunks::in_chunks;
use crate::fused::simd::level::vectorized;
use crate::fused::simd::math::exp;
use crate::fused::simd::storage::{Floats, contiguous, tensor};

struct SwiGlu {
    tracked: (bool, bool),
}

/// Computes silu(gate)·up, element by element.
pub(crate) fn swiglu(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    let tracked = (gate.track_op(), up.track_op());
    gate.contiguous()?
        .apply_op2(&up.contiguous()?, SwiGlu { tracked })
}

vectorized! {
    /// Computes y = silu(gate)·up.
    pub(in crate::fused) fn forward(gate: &[f32], up: &[f32], y: &mut [f32]) {
        for ((y, &gate), up) in y.iter_mut().zip(gate).zip(up) {
            *y = gate / (1.0 + exp::<FMA>(-gate)) * up;
        }
    }

    /// Computes dgate = dy·up·silu′(gate), with silu′(g) = σ(g)·(1 + g·(1 − σ(g))).
    fn gate_gradient(gate: &[f32], up: &[f32], dy: &[f32], dgate: &mut [f32]) {
        for (((dgate, &gate), up), dy) in dgate.iter_mut().zip(gate).zip(up).zip(dy) {
            let sigmoid = 1.0 / (1.0 + exp::<FMA>(-gate));
            *dgate = sigmoid * (1.0 + gate * (1.0 - sigmoid)) * up * dy;
        }
    }

    /// Computes y = silu(gate)·up of one row (gate, then up) and the gradient of the row, in the same order.
    pub(in crate::fused) fn row_gradient(row: &[f32], dy: &[f32], y: &mut [f32], gradient: &mut [f32]) {
        let (gate, up) = row.split_at(dy.len());
        let (dgate, dup) = gradient.split_at_mut(dy.len());
        let gradients = dgate.iter_mut().zip(dup).zip(y);
        for ((((dgate, dup), y), (&gate, up)), dy) in gradients.zip(gate.iter().zip(up)).zip(dy) {
            let sigmoid = 1.0 / (1.0 + exp::<FMA>(-gate));
            let silu = gate * sigmoid;
            *y = silu * up;
            *dup = silu * dy;
            *dgate = sigmoid * (1.0 + gate * (1.0 - sigmoid)) * up * dy;
        }
    }
}

impl CustomOp2 for SwiGlu {
    fn name(&self) -> &'static str {
        "swiglu"
    }

    fn cpu_fwd(
        &self,
        gate: &CpuStorage,
        gate_layout: &Layout,
        up: &CpuStorage,
        up_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let inputs = [contiguous(gate, gate_layout)?, contiguous(up, up_layout)?];
        let y = in_chunks(inputs, |[gate, up], y| forward(gate, up, y));
        Ok((CpuStorage::F32(y), gate_layout.shape().clone()))
    }

    fn bwd(
        &self,
        gate: &Tensor,
        up: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let gradient = gradient.contiguous()?;
        let shape = gate.shape();
        let (gate, up, gradient) = (Floats::of(gate)?, Floats::of(up)?, Floats::of(&gradient)?);
        let for_gate = || {
            let inputs = [&gate[..], &up[..], &gradient[..]];
            tensor(
                in_chunks(inputs, |[gate, up, dy], out| {
                    gate_gradient(gate, up, dy, out)
                }),
                shape,
            )
        };
        // dup = silu(gate)·dy has the form of the forward pass.
        let for_up = || {
            let inputs = [&gate[..], &gradient[..]];
            tensor(
                in_chunks(inputs, |[gate, dy], out| forward(gate, dy, out)),
                shape,
            )
        };
        Ok((
            self.tracked.0.then(for_gate).transpose()?,
            self.tracked.1.then(for_up).transpose()?,
        ))
    }
}
