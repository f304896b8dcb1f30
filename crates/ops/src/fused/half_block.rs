//! What the two fused halves of a block share: the operation around their arithmetic.

use std::sync::OnceLock;

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};

use super::buffer::{Shared, filled};
use super::chunks::zeros;
use super::half_weights::{Parts, Passage, Weights};
use super::storage::{Floats, contiguous, tensor};

/// The arithmetic of a half: y = x + f(x), over x and its weights in one flat vector.
pub(super) trait Half: Send + Sync + 'static {
    /// The operation's name.
    const NAME: &'static str;
    /// What the backward pass needs of the forward pass; the rest it computes again.
    type Saved: Send + Sync;

    /// Where its weights lie in the flat vector, and what is tracked.
    fn parts(&self) -> &Parts;

    /// Writes all of y, which may hold nothing yet.
    fn forward(&self, x: &[f32], flat: &[f32], y: Shared) -> Self::Saved;

    /// The gradients of x and of the flat vector, from x, the flat vector and y's gradient. Writes all of the first, which is
    /// empty where it is not needed, and adds to zeros in the second.
    fn backward(
        &self,
        saved: &Self::Saved,
        operands: [&[f32]; 3],
        dx: &mut [f32],
        dflat: &mut [f32],
    );
}

/// A half of a block as one operation: (batch, sequence, hidden) → (batch, sequence, hidden).
struct HalfBlock<H: Half> {
    half: H,
    flat: Vec<f32>,
    passages: Vec<Passage>,
    saved: OnceLock<H::Saved>,
}

/// Applies a half to x and its weights.
pub(super) fn apply<H: Half>(x: &Tensor, weights: Weights, half: H) -> Result<Tensor> {
    let operation = HalfBlock {
        half,
        flat: weights.flat,
        passages: weights.passages,
        saved: OnceLock::new(),
    };
    x.contiguous()?.apply_op2(&weights.gates, operation)
}

impl<H: Half> CustomOp2 for HalfBlock<H> {
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
        let fill = |y: Shared| saved = Some(self.half.forward(x, &self.flat, y));
        // SAFETY: y is x first, and then added to.
        let y = unsafe { filled(x.len(), fill) };
        let parts = self.half.parts();
        let tracked = parts.x_tracked || parts.tracked.contains(&true);
        if let (Some(saved), true) = (saved, tracked) {
            // An operation runs forward once, so that nothing can stand there yet.
            let _ = self.saved.set(saved);
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
        let Some(saved) = self.saved.get() else {
            bail!(
                "{}: the backward pass of a forward pass that was not tracked",
                H::NAME
            )
        };
        let parts = self.half.parts();
        let mut dflat = zeros(parts.total());
        let operands: [&[f32]; 3] = [&values, &self.flat, &gradient];
        let needed = parts.x_gradient_is_needed();
        let mut dx = zeros(if needed { values.len() } else { 0 });
        self.half.backward(saved, operands, &mut dx, &mut dflat);
        let dx = parts.x_tracked.then(|| tensor(dx, x.shape())).transpose()?;
        if self.passages.is_empty() {
            return Ok((dx, None));
        }
        let length = dflat.len();
        let dflat = tensor(dflat, length)?;
        for passage in &self.passages {
            passage.send(&dflat)?;
        }
        Ok((dx, Some(gates.zeros_like()?)))
    }
}
