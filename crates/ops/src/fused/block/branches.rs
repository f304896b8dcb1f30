//! Low-rank branches of adapters beside the projections of a sublayer, y = g·(W·x + s·B·h), h = A·drop(x), and their
//! gradients; g is 1, or with DoRA the magnitude over the norm of the row.
//!
//! Projections with the same input stand side by side, and so do their branches: h is (rows, rank) with all ranks
//! together. The flat vector of a group's branches holds every A, then every B, then the magnitudes.

use std::ops::Range;

use candle_core::{Result, Tensor};

use crate::adapter::{DropoutMask, SMALLEST_NORM};
use crate::fused::gemm::driver::{Store, gemm};
use crate::fused::gemm::format::Format;
use crate::fused::simd::buffer::{Shared, with_buffer};
use crate::fused::simd::chunks::write;
use crate::fused::simd::math::{dot, scaled};
use crate::fused::simd::matrix::Matrix;
use crate::fused::simd::parallel::for_each;
use crate::{Precision, Projection};

/// Rows of a task.
const ROWS: usize = 32;
/// Multiplications that drawing an element's dropout is worth.
const DRAW: usize = 8;

/// Shapes of the branches of a group of projections.
#[derive(Clone, Debug)]
pub(super) struct Branches {
    pub inputs: usize,
    pub outputs: usize,
    /// Sum of the ranks.
    pub rank: usize,
    /// Tokens of a row of the batch.
    row_length: usize,
    pub branches: Vec<Branch>,
    pub sources: Vec<Source>,
    precision: Precision,
}

#[derive(Clone, Debug)]
pub(super) struct Branch {
    /// Columns of y.
    pub outputs: Range<usize>,
    /// Columns of h.
    pub ranks: Range<usize>,
    pub scale: f32,
    pub has_magnitude: bool,
}

/// Columns of h that are made from the same input.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub ranks: Range<usize>,
    pub mask: Option<DropoutMask>,
}

/// Returns the tensors of the branches in the order of the flat vector.
pub(super) fn branch_tensors<'a>(projections: &[Projection<'a>]) -> Vec<&'a Tensor> {
    let adapters = || projections.iter().filter_map(|part| part.adapter);
    let a = adapters().map(|adapter| adapter.a);
    let b = adapters().map(|adapter| adapter.b);
    a.chain(b)
        .chain(adapters().filter_map(|adapter| adapter.magnitude))
        .collect()
}

impl Branches {
    /// Returns the branches of projections that stand side by side; `None` if no projection has one. Rows of the batch
    /// have `row_length` tokens.
    pub fn new(
        projections: &[Projection],
        row_length: usize,
        precision: Precision,
    ) -> Result<Option<Self>> {
        let (mut branches, mut sources): (Vec<Branch>, Vec<Source>) = (Vec::new(), Vec::new());
        let (mut inputs, mut outputs, mut rank) = (0, 0, 0);
        for projection in projections {
            let (rows, columns) = projection.weight.dims2()?;
            if let Some(adapter) = projection.adapter {
                let ranks = rank..rank + adapter.a.dim(0)?;
                rank = ranks.end;
                let mask = adapter.dropout.map(|dropout| dropout.mask());
                match sources.last_mut() {
                    Some(last) if last.mask.is_none() && mask.is_none() => last.ranks.end = rank,
                    _ => sources.push(Source {
                        ranks: ranks.clone(),
                        mask,
                    }),
                }
                branches.push(Branch {
                    outputs: outputs..outputs + rows,
                    ranks,
                    scale: adapter.scale as f32,
                    has_magnitude: adapter.magnitude.is_some(),
                });
            }
            inputs = columns;
            outputs += rows;
        }
        Ok((rank > 0).then_some(Self {
            inputs,
            outputs,
            rank,
            row_length,
            branches,
            sources,
            precision,
        }))
    }

    pub fn has_magnitudes(&self) -> bool {
        self.branches.iter().any(|branch| branch.has_magnitude)
    }

    /// Each branch with the place of its B in those of all.
    pub fn placed(&self) -> impl Iterator<Item = (&Branch, Range<usize>)> {
        self.branches.iter().scan(0, |end, branch| {
            let start = *end;
            *end += branch.outputs.len() * branch.ranks.len();
            Some((branch, start..*end))
        })
    }

    fn b_length(&self) -> usize {
        self.placed().last().map_or(0, |(_, place)| place.end)
    }

    /// Prepares the branches for products: `weight` is W of the group, `flat` the branches' part of the flat vector.
    pub fn weights<'a>(&'a self, weight: &[f32], flat: &'a [f32]) -> BranchWeights<'a> {
        let (a, rest) = flat.split_at(self.rank * self.inputs);
        let (b, magnitudes) = rest.split_at(self.b_length());
        let mut scaled_b = vec![0.0; b.len()];
        for (branch, place) in self.placed() {
            scaled(&b[place.clone()], branch.scale, &mut scaled_b[place]);
        }
        let mut weights = BranchWeights {
            shape: self,
            a,
            b: scaled_b,
            magnitudes: None,
        };
        if self.has_magnitudes() {
            weights.magnitudes = Some(weights.find_magnitudes(weight, magnitudes));
        }
        weights
    }
}

/// Branches with their values.
pub(super) struct BranchWeights<'a> {
    pub shape: &'a Branches,
    /// Every A: (rank, inputs).
    a: &'a [f32],
    /// s·B of each branch: (outputs, rank).
    pub b: Vec<f32>,
    pub magnitudes: Option<Magnitudes>,
}

/// Magnitudes of a group's outputs.
pub(super) struct Magnitudes {
    /// g of each output; 1 without a magnitude.
    pub factors: Vec<f32>,
    /// 1 / ‖W + s·B·A‖ of each output; 0 without a magnitude.
    pub inverse_norms: Vec<f32>,
}

impl BranchWeights<'_> {
    pub fn has_magnitudes(&self) -> bool {
        self.magnitudes.is_some()
    }

    /// Format of products with sums as long as an input or an output.
    pub fn long(&self) -> Format {
        Format::of(self.shape.precision)
    }

    /// Format of products with sums over a rank.
    pub fn short(&self) -> Format {
        Format::of_small(self.shape.precision)
    }

    pub fn b_of(&self, branch: &Branch, place: Range<usize>) -> Matrix<'_> {
        Matrix::new(&self.b[place], branch.outputs.len(), branch.ranks.len())
    }

    pub fn a_of(&self, ranks: &Range<usize>) -> Matrix<'_> {
        let inputs = self.shape.inputs;
        let rows = &self.a[ranks.start * inputs..ranks.end * inputs];
        Matrix::new(rows, ranks.len(), inputs)
    }

    fn find_magnitudes(&self, weight: &[f32], magnitudes: &[f32]) -> Magnitudes {
        let (inputs, outputs) = (self.shape.inputs, self.shape.outputs);
        let (mut factors, mut inverse_norms) = (vec![1.0; outputs], vec![0.0; outputs]);
        let mut given = magnitudes;
        for (branch, place) in self.shape.placed() {
            if !branch.has_magnitude {
                continue;
            }
            let rows = branch.outputs.len();
            let (own, rest) = given.split_at(rows);
            given = rest;
            let inverse_norms = &mut inverse_norms[branch.outputs.clone()];
            with_buffer(rows * inputs, |merged| {
                let start = branch.outputs.start * inputs;
                write(&weight[start..][..rows * inputs], Shared::new(merged));
                let (a, b) = (self.a_of(&branch.ranks), self.b_of(branch, place));
                gemm(b, a, merged, Store::Add, Precision::F32);
                let norms = Shared::new(inverse_norms);
                for_each(rows.div_ceil(ROWS), rows * inputs, |task| {
                    for row in task * ROWS..rows.min((task + 1) * ROWS) {
                        let row_of = &merged[row * inputs..][..inputs];
                        let norm = dot(row_of, row_of).sqrt().max(SMALLEST_NORM);
                        // SAFETY: each row is in one task.
                        let inverse = unsafe { norms.slice(row, 1) };
                        inverse[0] = 1.0 / norm;
                    }
                });
            });
            let factors = factors[branch.outputs.clone()].iter_mut();
            for ((factor, magnitude), inverse) in factors.zip(own).zip(inverse_norms) {
                *factor = magnitude * *inverse;
            }
        }
        Magnitudes {
            factors,
            inverse_norms,
        }
    }
}

impl Branches {
    /// Lends the input of some columns of h: x, or what dropout leaves of it.
    pub fn with_input<R>(
        &self,
        source: &Source,
        (first, x): (usize, &[f32]),
        work: impl FnOnce(&[f32]) -> R,
    ) -> R {
        let Some(mask) = &source.mask else {
            return work(x);
        };
        with_buffer(x.len(), |dropped| {
            write(x, Shared::new(dropped));
            self.drop(mask, first, dropped);
            work(dropped)
        })
    }

    /// Multiplies inputs, from the token `first` on, by the mask.
    pub fn drop(&self, mask: &DropoutMask, first: usize, x: &mut [f32]) {
        let (inputs, rows) = (self.inputs, x.len() / self.inputs);
        let work = DRAW * x.len();
        let x = Shared::new(x);
        for_each(rows.div_ceil(ROWS), work, |task| {
            for row in task * ROWS..rows.min((task + 1) * ROWS) {
                let (row_of, token) = (
                    (first + row) / self.row_length,
                    (first + row) % self.row_length,
                );
                // SAFETY: each row is in one task.
                let x = unsafe { x.slice(row * inputs, inputs) };
                for (at, x) in x.iter_mut().enumerate() {
                    *x *= mask.factor(row_of, token * inputs + at);
                }
            }
        });
    }
}
