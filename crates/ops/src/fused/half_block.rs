//! What the two fused halves of a block share: the operation around their arithmetic, and their weights in one tensor,
//! since an operation of Candle's takes three.

use std::sync::OnceLock;

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};

use super::buffer::{filled, split};
use super::storage::{Floats, contiguous, tensor};

/// The arithmetic of a half: y = x + f(x), over x and its weights in one flat vector.
pub(super) trait Half: Send + Sync + 'static {
    /// The operation's name.
    const NAME: &'static str;
    /// What the backward pass needs of the forward pass; the rest it computes again.
    type Saved: Send + Sync;

    /// Where its weights lie in the flat vector, and what is tracked.
    fn parts(&self) -> &Parts<3>;

    /// Writes all of y.
    fn forward(&self, x: &[f32], flat: &[f32], y: &mut [f32]) -> Self::Saved;

    /// Adds to zeros: the gradients of x and of the flat vector, from x, the flat vector and y's gradient.
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
    saved: OnceLock<H::Saved>,
}

/// Applies a half to x and its flat weights.
pub(super) fn apply<H: Half>(x: &Tensor, flat: &Tensor, half: H) -> Result<Tensor> {
    let saved = OnceLock::new();
    x.contiguous()?.apply_op2(flat, HalfBlock { half, saved })
}

/// Parts of a flat vector, one after the other, with whether each is tracked.
#[derive(Clone, Debug)]
pub(super) struct Parts<const N: usize> {
    pub lengths: [usize; N],
    pub tracked: [bool; N],
    /// Whether what they are applied to is tracked.
    pub x_tracked: bool,
}

/// Groups of weights that are applied to `x` as one flat tensor, in order.
pub(super) fn flatten<const N: usize>(
    x: &Tensor,
    groups: [&[&Tensor]; N],
) -> Result<(Tensor, Parts<N>)> {
    let mut flat = Vec::new();
    for weight in groups.iter().copied().flatten() {
        flat.push(weight.flatten_all()?);
    }
    let parts = Parts {
        lengths: groups.map(|group| group.iter().map(|weight| weight.elem_count()).sum()),
        tracked: groups.map(|group| group.iter().any(|weight| weight.track_op())),
        x_tracked: x.track_op(),
    };
    Ok((Tensor::cat(&flat, 0)?, parts))
}

impl<H: Half> CustomOp2 for HalfBlock<H> {
    fn name(&self) -> &'static str {
        H::NAME
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        flat: &CpuStorage,
        flat_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, flat) = (contiguous(x, x_layout)?, contiguous(flat, flat_layout)?);
        let mut saved = None;
        let fill = |y: &mut [f32]| saved = Some(self.half.forward(x, flat, y));
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
        flat: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let gradient = gradient.contiguous()?;
        let (values, weights, gradient) =
            (Floats::of(x)?, Floats::of(flat)?, Floats::of(&gradient)?);
        let Some(saved) = self.saved.get() else {
            bail!(
                "{}: the backward pass of a forward pass that was not tracked",
                H::NAME
            )
        };
        let parts = self.half.parts();
        let mut dflat = vec![0.0; parts.total()];
        let mut dx = vec![0.0; values.len()];
        let operands: [&[f32]; 3] = [&values, &weights, &gradient];
        self.half.backward(saved, operands, &mut dx, &mut dflat);
        let dx = parts.x_tracked.then(|| tensor(dx, x.shape()));
        let any = parts.tracked.contains(&true);
        let dflat = any.then(|| tensor(dflat, flat.shape()));
        Ok((dx.transpose()?, dflat.transpose()?))
    }
}

impl<const N: usize> Parts<N> {
    /// The parts of a flat vector.
    pub fn of<'a>(&self, mut flat: &'a [f32]) -> [&'a [f32]; N] {
        self.lengths.map(|length| {
            let (part, rest) = flat.split_at(length);
            flat = rest;
            part
        })
    }

    /// The parts of a flat vector, to be written.
    pub fn of_mut<'a>(&self, flat: &'a mut [f32]) -> [&'a mut [f32]; N] {
        split(flat, self.lengths)
    }

    /// How long the flat vector is.
    pub fn total(&self) -> usize {
        self.lengths.iter().sum()
    }
}
