//! Products of adapters' branches with rows: the forward pass, and the gradients.

use std::ops::Range;

use super::branches::{BranchWeights, Magnitudes};
use crate::fused::gemm::driver::{PackedOperand, Store, gemm_in, with_packed};
use crate::fused::simd::buffer::{Shared, with_buffer};
use crate::fused::simd::chunks::add;
use crate::fused::simd::math::add_scaled;
use crate::fused::simd::matrix::Matrix;
use crate::fused::simd::parallel::{Threads, for_each};
use crate::fused::simd::row_sums::sum_rows;

/// Rows of a task.
const ROWS: usize = 32;

/// Values of some rows from which the gradients of the branches follow.
pub(super) struct BranchRows<'a> {
    /// Place of the first row among all tokens.
    pub first: usize,
    /// The projections' input: (rows, inputs).
    pub x: &'a [f32],
    /// (rows, rank).
    pub h: &'a [f32],
    /// Gradient of h.
    pub dh: &'a [f32],
    /// Gradient of W·x + s·B·h: (rows, outputs).
    pub dy: &'a [f32],
    /// (W·x + s·B·h) times the gradient of y: (rows, outputs); empty without magnitudes.
    pub shares: &'a [f32],
}

impl BranchWeights<'_> {
    /// Projects rows, from the token `first` on: y = or += g·(W·x + s·B·h). Both h, (rows, rank), and a y that is
    /// replaced may hold nothing yet.
    ///
    /// # Safety
    /// No other task uses these rows of the results.
    pub unsafe fn project(
        &self,
        weight: &PackedOperand,
        (first, x): (usize, &[f32]),
        [h, y]: [Shared; 2],
        (store, threads): (Store, Threads),
    ) {
        let rows = x.len() / self.shape.inputs;
        self.narrow((first, x), h, threads);
        // SAFETY: promised by the caller; the product has replaced every element.
        let h = unsafe { h.slice(0, h.len()) };
        let input = Matrix::new(x, rows, self.shape.inputs);
        if store == Store::Replace || self.magnitudes.is_none() {
            weight.multiply_into(input, y, store, threads);
            self.widen(h, y, threads);
            if self.magnitudes.is_some() {
                // SAFETY: promised by the caller; the product has replaced every element.
                self.scale(unsafe { y.slice(0, y.len()) });
            }
            return;
        }
        with_buffer(rows * self.shape.outputs, |own| {
            weight.multiply(input, own, Store::Replace, threads);
            self.widen(h, Shared::new(own), threads);
            self.scale(own);
            // SAFETY: promised by the caller; a y that is added to holds numbers.
            add(own, unsafe { y.slice(0, y.len()) });
        });
    }

    /// h = A·drop(x).
    fn narrow(&self, (first, x): (usize, &[f32]), h: Shared, threads: Threads) {
        let (inputs, rank) = (self.shape.inputs, self.shape.rank);
        let rows = x.len() / inputs;
        for source in &self.shape.sources {
            self.shape.with_input(source, (first, x), |x| {
                let a = self.a_of(&source.ranks).transposed();
                let h = h.part(
                    source.ranks.start.min(h.len()),
                    h.len().saturating_sub(source.ranks.start),
                );
                with_packed(a, rows, self.long(), |a| {
                    let x = Matrix::new(x, rows, inputs);
                    a.multiply_strided(x, (h, rank), Store::Replace, threads);
                });
            });
        }
    }

    /// Computes y += s·B·h.
    fn widen(&self, h: &[f32], y: Shared, threads: Threads) {
        let (outputs, rank) = (self.shape.outputs, self.shape.rank);
        let rows = h.len() / rank;
        let h = Matrix::new(h, rows, rank);
        for (branch, place) in self.shape.placed() {
            let start = branch.outputs.start.min(y.len());
            let y = y.part(start, y.len() - start);
            let h = h.block((0, rows), (branch.ranks.start, branch.ranks.len()));
            let b = self.b_of(branch, place).transposed();
            with_packed(b, rows, self.short(), |b| {
                b.multiply_strided(h, (y, outputs), Store::Add, threads);
            });
        }
    }

    /// Multiplies each output by its factor g; without magnitudes it does nothing.
    pub fn scale(&self, y: &mut [f32]) {
        if let Some(magnitudes) = &self.magnitudes {
            in_rows(y, &magnitudes.factors, |y, factors| multiply(factors, y));
        }
    }

    /// Computes `shares` from the gradient of y for rows whose h is known: (W·x + s·B·h)·dy.
    pub fn share(
        &self,
        weight: &PackedOperand,
        [x, h, dy]: [&[f32]; 3],
        shares: &mut [f32],
        threads: Threads,
    ) {
        let inputs = self.shape.inputs;
        let x = Matrix::new(x, x.len() / inputs, inputs);
        weight.multiply(x, shares, Store::Replace, threads);
        self.widen(h, Shared::new(shares), threads);
        multiply(dy, shares);
    }

    /// Computes the gradient of h from that of W·x + s·B·h, and adds the branches' part to the gradient of x.
    pub fn backward_rows(
        &self,
        (first, dy): (usize, &[f32]),
        dh: &mut [f32],
        dx: Option<&mut [f32]>,
        threads: Threads,
    ) {
        let (outputs, rank) = (self.shape.outputs, self.shape.rank);
        let rows = dh.len() / rank;
        let dy = Matrix::new(dy, rows, outputs);
        for (branch, place) in self.shape.placed() {
            let dy = dy.block((0, rows), (branch.outputs.start, branch.outputs.len()));
            let start = branch.ranks.start.min(dh.len());
            let dh = Shared::new(&mut dh[start..]);
            with_packed(self.b_of(branch, place), rows, self.long(), |b| {
                b.multiply_strided(dy, (dh, rank), Store::Replace, threads);
            });
        }
        if let Some(dx) = dx {
            self.add_input_gradient((first, dh), dx, threads);
        }
    }

    /// dx += drop(dh·A).
    fn add_input_gradient(&self, (first, dh): (usize, &[f32]), dx: &mut [f32], threads: Threads) {
        let rank = self.shape.rank;
        let rows = dh.len() / rank;
        let dh = Matrix::new(dh, rows, rank);
        for source in &self.shape.sources {
            let dh = dh.block((0, rows), (source.ranks.start, source.ranks.len()));
            with_packed(self.a_of(&source.ranks), rows, self.short(), |a| {
                let Some(mask) = &source.mask else {
                    return a.multiply(dh, dx, Store::Add, threads);
                };
                with_buffer(dx.len(), |own| {
                    a.multiply(dh, own, Store::Replace, threads);
                    self.shape.drop(mask, first, own);
                    add(own, dx);
                });
            });
        }
    }

    /// Adds the gradients of every A, B and magnitude to the branches' part of the flat gradient.
    pub fn add_gradients(&self, rows: &BranchRows, flat: &mut [f32]) {
        let (inputs, outputs, rank) = (self.shape.inputs, self.shape.outputs, self.shape.rank);
        let (da, rest) = flat.split_at_mut(rank * inputs);
        let (db, dmagnitudes) = rest.split_at_mut(self.b.len());
        let count = rows.h.len() / rank;
        let columns = |values, ranks: &Range<usize>| {
            Matrix::new(values, count, rank).block((0, count), (ranks.start, ranks.len()))
        };
        for source in &self.shape.sources {
            let da = &mut da[source.ranks.start * inputs..source.ranks.end * inputs];
            self.shape.with_input(source, (rows.first, rows.x), |x| {
                let dh = columns(rows.dh, &source.ranks).transposed();
                gemm_in(
                    self.long(),
                    dh,
                    Matrix::new(x, count, inputs),
                    da,
                    Store::Add,
                );
            });
        }
        let dy = Matrix::new(rows.dy, count, outputs);
        for (branch, place) in self.shape.placed() {
            let dy = dy.block((0, count), (branch.outputs.start, branch.outputs.len()));
            let h = columns(rows.h, &branch.ranks);
            with_buffer(place.len(), |product| {
                gemm_in(self.long(), dy.transposed(), h, product, Store::Replace);
                add_scaled(product, branch.scale, &mut db[place]);
            });
        }
        if let Some(magnitudes) = &self.magnitudes {
            self.add_magnitude_gradients(rows.shares, magnitudes, dmagnitudes);
        }
    }

    fn add_magnitude_gradients(&self, shares: &[f32], of: &Magnitudes, gradient: &mut [f32]) {
        let outputs = self.shape.outputs;
        let mut sums = vec![0.0; outputs];
        sum_rows(
            shares.len() / outputs,
            shares.len(),
            &mut sums,
            |rows, part| {
                for row in rows {
                    add(&shares[row * outputs..][..outputs], part);
                }
            },
        );
        multiply(&of.inverse_norms, &mut sums);
        let mut start = 0;
        for branch in self
            .shape
            .branches
            .iter()
            .filter(|branch| branch.has_magnitude)
        {
            let own = &sums[branch.outputs.clone()];
            add(own, &mut gradient[start..start + own.len()]);
            start += own.len();
        }
    }
}

/// Calls `work(row, factors)` for each row of `values`.
fn in_rows(values: &mut [f32], factors: &[f32], work: impl Fn(&mut [f32], &[f32]) + Sync + Send) {
    let width = factors.len();
    let (rows, amount) = (values.len() / width, 4 * values.len());
    let values = Shared::new(values);
    for_each(rows.div_ceil(ROWS), amount, |task| {
        for row in task * ROWS..rows.min((task + 1) * ROWS) {
            // SAFETY: each row is in one task.
            work(unsafe { values.slice(row * width, width) }, factors);
        }
    });
}

/// to *= from.
fn multiply(from: &[f32], to: &mut [f32]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to *= from;
    }
}
