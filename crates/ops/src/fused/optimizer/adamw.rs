//! AdamW update in one pass over parameter, gradient and moments.

use std::sync::Mutex;

use candle_core::{CpuStorage, InplaceOp2, Layout, Result, Tensor, Var, bail};

use crate::fused::simd::buffer::Shared;
use crate::fused::simd::level::vectorized;
use crate::fused::simd::parallel::for_each;
use crate::fused::simd::storage::{contiguous, contiguous_mut};
use crate::optimizer::moments::HostMoments;

/// Number of elements that one parallel task processes.
const CHUNK: usize = 1 << 14;

/// Factors of one update, precomputed from the settings and the step number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UpdateFactors {
    pub gradient_scale: f32,
    pub beta1: f32,
    pub beta2: f32,
    /// Factor that weight decay multiplies a parameter by: 1 − η·λ.
    pub kept: f32,
    /// Learning rate with the bias correction of m: η / (1 − β₁ᵗ).
    pub step_size: f32,
    /// Factor that corrects the bias of √v: 1 / √(1 − β₂ᵗ).
    pub spread: f32,
    pub epsilon: f32,
}

struct Update<'a> {
    factors: UpdateFactors,
    moments: Mutex<&'a mut HostMoments>,
}

/// Updates `parameter` and `moments` in place.
pub(crate) fn adamw(
    parameter: &Var,
    gradient: &Tensor,
    moments: &mut HostMoments,
    factors: UpdateFactors,
) -> Result<()> {
    let moments = Mutex::new(moments);
    parameter.inplace_op2(&gradient.contiguous()?, &Update { factors, moments })
}

vectorized! {
    fn update(
        factors: &UpdateFactors,
        parameter: &mut [f32],
        gradient: &[f32],
        first: &mut [f32],
        second: &mut [f32],
    ) {
        let moments = first.iter_mut().zip(second);
        for ((p, g), (m, v)) in parameter.iter_mut().zip(gradient).zip(moments) {
            let g = g * factors.gradient_scale;
            *m = factors.beta1 * *m + (1.0 - factors.beta1) * g;
            *v = factors.beta2 * *v + (1.0 - factors.beta2) * g * g;
            let step = *m / (v.sqrt() * factors.spread + factors.epsilon);
            *p = *p * factors.kept - factors.step_size * step;
        }
        let _ = FMA;
    }
}

impl InplaceOp2 for Update<'_> {
    fn name(&self) -> &'static str {
        "adamw"
    }

    fn cpu_fwd(
        &self,
        parameter: &mut CpuStorage,
        parameter_layout: &Layout,
        gradient: &CpuStorage,
        gradient_layout: &Layout,
    ) -> Result<()> {
        let gradient = contiguous(gradient, gradient_layout)?;
        let parameter = contiguous_mut(parameter, parameter_layout)?;
        let Ok(mut moments) = self.moments.lock() else {
            bail!("adamw: an earlier update was broken off")
        };
        let length = parameter.len();
        if gradient.len() != length || moments.first.len() != length {
            bail!(
                "adamw: a parameter of `{length}` elements and a gradient of `{}`",
                gradient.len()
            )
        }
        let [parameter, first, second] = [
            Shared::new(parameter),
            Shared::new(&mut moments.first),
            Shared::new(&mut moments.second),
        ];
        for_each(length.div_ceil(CHUNK), 8 * length, |task| {
            let start = task * CHUNK;
            let count = CHUNK.min(length - start);
            // SAFETY: chunks do not overlap, and all three slices have `length` elements.
            let (parameter, first, second) = unsafe {
                (
                    parameter.slice(start, count),
                    first.slice(start, count),
                    second.slice(start, count),
                )
            };
            let gradient = &gradient[start..start + count];
            update(&self.factors, parameter, gradient, first, second);
        });
        Ok(())
    }
}
