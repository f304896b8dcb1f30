//! Projections that stand side by side, with the branches of their adapters.

use super::branches::{BranchWeights, Branches};
use crate::fused::gemm::driver::{PackedOperand, Store, with_packed};
use crate::fused::gemm::format::Format;
use crate::fused::simd::buffer::{Shared, with_buffer};
use crate::fused::simd::chunks::write;
use crate::fused::simd::matrix::Matrix;
use crate::fused::simd::parallel::Threads;

/// Group of projections for the forward pass: Wᵀ, packed, and the branches.
#[derive(Clone, Copy)]
pub(super) struct Group<'a> {
    pub weight: &'a PackedOperand<'a>,
    pub branches: Option<&'a BranchWeights<'a>>,
}

impl Group<'_> {
    /// Projects rows, from the token `first` on, and their residual or nothing in y. Both h and a y that is replaced
    /// may hold nothing yet.
    ///
    /// # Safety
    /// No other task uses these rows of the results.
    pub unsafe fn project(
        &self,
        (first, x): (usize, Matrix),
        [h, y]: [Shared; 2],
        (store, threads): (Store, Threads),
    ) {
        match self.branches {
            None => self.weight.multiply_into(x, y, store, threads),
            Some(branches) => {
                let x = &x.data[..x.rows * x.columns];
                // SAFETY: promised by the caller.
                unsafe { branches.project(self.weight, (first, x), [h, y], (store, threads)) };
            }
        }
    }
}

/// Group of projections for the backward pass.
#[derive(Clone, Copy)]
pub(super) struct BackwardGroup<'a> {
    /// W, packed.
    pub weight: &'a PackedOperand<'a>,
    /// Wᵀ, packed, where magnitudes need the outputs again.
    pub forward: Option<&'a PackedOperand<'a>>,
    pub branches: Option<&'a BranchWeights<'a>>,
}

/// Weight matrix of a group of projections before packing, its adapter branches, and the number of rows of the
/// product's other factor.
pub(super) struct GroupWeights<'a> {
    pub weight: Matrix<'a>,
    pub branches: Option<&'a BranchWeights<'a>>,
    pub rows: usize,
    pub format: Format,
}

impl GroupWeights<'_> {
    /// Lends the gradient of W·x + s·B·h: `dy` times the magnitudes' factors, or `dy` itself without magnitudes.
    pub fn with_scaled<R>(&self, dy: &[f32], work: impl FnOnce(&[f32]) -> R) -> R {
        match self.branches.filter(|branches| branches.has_magnitudes()) {
            None => work(dy),
            Some(branches) => with_buffer(dy.len(), |scaled| {
                write(dy, Shared::new(scaled));
                branches.scale(scaled);
                work(scaled)
            }),
        }
    }

    /// Packs the group for the forward pass.
    pub fn with_forward<R>(&self, work: impl FnOnce(Group) -> R) -> R {
        with_packed(self.weight.transposed(), self.rows, self.format, |weight| {
            work(Group {
                weight,
                branches: self.branches,
            })
        })
    }

    /// Packs the group for the backward pass.
    pub fn with_backward<R>(&self, work: impl FnOnce(BackwardGroup) -> R) -> R {
        let branches = self.branches;
        with_packed(self.weight, self.rows, self.format, |weight| {
            if !branches.is_some_and(BranchWeights::has_magnitudes) {
                return work(BackwardGroup {
                    weight,
                    forward: None,
                    branches,
                });
            }
            with_packed(
                self.weight.transposed(),
                self.rows,
                self.format,
                |forward| {
                    work(BackwardGroup {
                        weight,
                        forward: Some(forward),
                        branches,
                    })
                },
            )
        })
    }
}

impl BackwardGroup<'_> {
    /// Computes the gradient of the input from `dy`, that of W·x + s·B·h, and the gradient of h; the former is left out
    /// where it is not needed.
    pub fn input_gradient(
        &self,
        (first, dy): (usize, Matrix),
        dh: &mut [f32],
        mut dx: Option<&mut [f32]>,
        threads: Threads,
    ) {
        if let Some(dx) = dx.as_deref_mut() {
            self.weight.multiply(dy, dx, Store::Replace, threads);
        }
        if let Some(branches) = self.branches {
            let dy = &dy.data[..dy.rows * dy.columns];
            branches.backward_rows((first, dy), dh, dx, threads);
        }
    }

    /// Computes the shares of the magnitudes' gradient, where there are magnitudes, and turns `dy` into the gradient of
    /// W·x + s·B·h.
    pub fn through_magnitudes(
        &self,
        [x, h]: [&[f32]; 2],
        dy: &mut [f32],
        shares: &mut [f32],
        threads: Threads,
    ) {
        if let (Some(forward), Some(branches)) = (self.forward, self.branches) {
            branches.share(forward, [x, h, dy], shares, threads);
            branches.scale(dy);
        }
    }
}

/// Columns of h, 0 without branches.
pub(super) fn rank_of(branches: &Option<Branches>) -> usize {
    branches.as_ref().map_or(0, |branches| branches.rank)
}

/// Columns that the shares of magnitudes take: all outputs, or none without magnitudes.
pub(super) fn share_width(branches: &Option<Branches>, outputs: usize) -> usize {
    match branches {
        Some(branches) if branches.has_magnitudes() => outputs,
        _ => 0,
    }
}
