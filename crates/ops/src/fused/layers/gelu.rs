//! GELU activation, for feed-forward layers without a gate.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

use crate::fused::simd::chunks::in_chunks;
use crate::fused::simd::level::vectorized;
use crate::fused::simd::math::{exp, multiply_add};
use crate::fused::simd::storage::{Floats, contiguous, tensor};

/// Constant 2·√(2/π).
const TWICE: f32 = 1.595_769;
/// Coefficient of x³ in the tanh approximation of GELU.
const CUBE: f32 = 0.044_715;

struct Gelu;

/// Computes GELU in its tanh approximation, element by element, as x·σ(2u) with u = √(2/π)·(x + 0.044715·x³). This
/// equals x/2·(1 + tanh u), but keeps the precision of results near 0 for negative x.
pub(crate) fn gelu(x: &Tensor) -> Result<Tensor> {
    x.contiguous()?.apply_op1(Gelu)
}

vectorized! {
    /// Computes y = x·σ(2u).
    fn forward(x: &[f32], y: &mut [f32]) {
        for (y, &x) in y.iter_mut().zip(x) {
            let twice_u = TWICE * x * multiply_add::<FMA>(CUBE * x, x, 1.0);
            *y = x / (1.0 + exp::<FMA>(-twice_u));
        }
    }

    /// Computes dx = dy·(σ + x·σ·(1 − σ)·2u′), with u′ = √(2/π)·(1 + 3·0.044715·x²).
    fn gradient(x: &[f32], dy: &[f32], dx: &mut [f32]) {
        for ((dx, &x), dy) in dx.iter_mut().zip(x).zip(dy) {
            let twice_u = TWICE * x * multiply_add::<FMA>(CUBE * x, x, 1.0);
            let slope = TWICE * multiply_add::<FMA>(3.0 * CUBE * x, x, 1.0);
            let sigmoid = 1.0 / (1.0 + exp::<FMA>(-twice_u));
            *dx = multiply_add::<FMA>(x * (sigmoid * (1.0 - sigmoid)), slope, sigmoid) * dy;
        }
    }
}

impl CustomOp1 for Gelu {
    fn name(&self) -> &'static str {
        "gelu"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let y = in_chunks([contiguous(x, layout)?], |[x], y| forward(x, y));
        Ok((CpuStorage::F32(y), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let dy = dy.contiguous()?;
        let (values, dy) = (Floats::of(x)?, Floats::of(&dy)?);
        let dx = in_chunks([&values[..], &dy[..]], |[x, dy], dx| gradient(x, dy, dx));
        Ok(Some(tensor(dx, x.shape())?))
    }
}
