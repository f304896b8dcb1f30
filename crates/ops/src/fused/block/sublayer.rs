//! Candle operation around the arithmetic of a fused sublayer.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};

use super::weights::{GradientRoute, Parts, Values, Weights};
use crate::fused::saved::Saved;
use crate::fused::simd::buffer::{Shared, filled};
use crate::fused::simd::chunks::zeros;
use crate::fused::simd::storage::{Floats, contiguous, tensor};

/// Arithmetic of a sublayer: y = x + f(x), over x and its weights in one flat vector.
pub(super) trait Sublayer: Send + Sync + 'static {
    /// Name of the operation.
    const NAME: &'static str;
    /// Values of the forward pass that the backward pass needs; it recomputes the rest.
    type Saved: Send + Sync;

    /// Returns the places of the weights in the flat vector, and which are tracked.
    fn parts(&self) -> &Parts;

    /// Writes all of y, which may be uninitialized.
    fn forward(&self, x: &[f32], flat: &[f32], y: Shared) -> Self::Saved;

    /// Computes the gradients of x and of the tracked parts of the flat vector from x, the flat vector and the gradient
    /// of y. Writes all of the first, which is empty if it is not needed, and adds to zeros in the second.
    fn backward(
        &self,
        saved: &Self::Saved,
        operands: [&[f32]; 3],
        dx: &mut [f32],
        dflat: &mut [f32],
    );
}

/// Sublayer as one operation: (batch, sequence, hidden) → (batch, sequence, hidden).
struct SublayerOperation<H: Sublayer> {
    sublayer: H,
    values: Values,
    routes: Vec<GradientRoute>,
    saved: Saved<H::Saved>,
}

/// Applies a sublayer to x and its weights.
pub(super) fn apply<H: Sublayer>(x: &Tensor, weights: Weights, sublayer: H) -> Result<Tensor> {
    let operation = SublayerOperation {
        sublayer,
        values: weights.values,
        routes: weights.routes,
        saved: Saved::none(),
    };
    x.contiguous()?.apply_op2(&weights.gates, operation)
}

impl<H: Sublayer> CustomOp2 for SublayerOperation<H> {
    fn name(&self) -> &'static str {
        H::NAME
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let x = contiguous(x, x_layout)?;
        let mut saved = None;
        let y = self.values.with_flat(|flat| {
            let fill = |y: Shared| saved = Some(self.sublayer.forward(x, flat, y));
            // SAFETY: y is x first, and then added to.
            unsafe { filled(x.len(), fill) }
        })?;
        let parts = self.sublayer.parts();
        let tracked = parts.x_tracked || parts.tracked.contains(&true);
        if let (Some(saved), true) = (saved, tracked) {
            self.saved.put(saved);
        }
        Ok((CpuStorage::F32(y), x_layout.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        gates: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let gradient = gradient.contiguous()?;
        let (values, gradient) = (Floats::of(x)?, Floats::of(&gradient)?);
        let saved = self.saved.take(H::NAME)?;
        let parts = self.sublayer.parts();
        let mut dflat = zeros(parts.gradient_total());
        let needed = parts.x_gradient_is_needed();
        let mut dx = zeros(if needed { values.len() } else { 0 });
        self.values.with_flat(|flat| {
            let operands: [&[f32]; 3] = [&values, flat, &gradient];
            self.sublayer
                .backward(&saved, operands, &mut dx, &mut dflat);
        })?;
        drop(saved);
        let dx = parts.x_tracked.then(|| tensor(dx, x.shape())).transpose()?;
        if self.routes.is_empty() {
            return Ok((dx, None));
        }
        let length = dflat.len();
        let dflat = tensor(dflat, length)?;
        for route in &self.routes {
            route.send(&dflat)?;
        }
        Ok((dx, Some(gates.zeros_like()?)))
    }
}
