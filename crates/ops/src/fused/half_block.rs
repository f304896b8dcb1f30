//! What the two fused halves of a block share: their weights in one tensor, since an operation of Candle's takes three.

use candle_core::{Result, Tensor};

/// Parts of a flat vector, one after the other, with whether each is tracked.
#[derive(Clone, Debug)]
pub(super) struct Parts<const N: usize> {
    pub lengths: [usize; N],
    pub tracked: [bool; N],
}

/// Groups of weights as one flat tensor, in order.
pub(super) fn flatten<const N: usize>(groups: [&[&Tensor]; N]) -> Result<(Tensor, Parts<N>)> {
    let mut flat = Vec::new();
    for weight in groups.iter().copied().flatten() {
        flat.push(weight.flatten_all()?);
    }
    let parts = Parts {
        lengths: groups.map(|group| group.iter().map(|weight| weight.elem_count()).sum()),
        tracked: groups.map(|group| group.iter().any(|weight| weight.track_op())),
    };
    Ok((Tensor::cat(&flat, 0)?, parts))
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
    pub fn of_mut<'a>(&self, mut flat: &'a mut [f32]) -> [&'a mut [f32]; N] {
        self.lengths.map(|length| {
            let (part, rest) = std::mem::take(&mut flat).split_at_mut(length);
            flat = rest;
            part
        })
    }

    /// How long the flat vector is.
    pub fn total(&self) -> usize {
        self.lengths.iter().sum()
    }
}
