//! Backward pass of the feed-forward sublayer.

use super::FusedFeedForward;
use crate::fused::block::branch_rows::BranchRows;
use crate::fused::block::branches::BranchWeights;
use crate::fused::block::group::{BackwardGroup, rank_of, share_width};
use crate::fused::block::residual::norm_residual_backward;
use crate::fused::block::row_blocks::for_each_row_block;
use crate::fused::block::weights::GROUPS;
use crate::fused::gemm::driver::{Store, gemm_in};
use crate::fused::gemm::format::Format;
use crate::fused::layers::rms_norm::{normalize_again, weight_gradient};
use crate::fused::simd::buffer::{Shared, with_buffer};
use crate::fused::simd::kept::KeptPart;
use crate::fused::simd::matrix::Matrix;

/// Values between the products of the backward pass: the activation, the gradient of gate·n and up·n, n, its gradient,
/// the gradient of h and the shares of the magnitudes of gate and up, and both of down.
pub(super) const BETWEEN: usize = 8;

/// Rows of what the backward pass starts from.
pub(super) struct Rows<'a> {
    /// Place of the first row among all tokens.
    pub first: usize,
    pub x: &'a [f32],
    pub dy: &'a [f32],
    /// Gradient of down's product: `dy` times down's factors.
    pub doutput: &'a [f32],
    pub gate_up: KeptPart<'a>,
    pub scales: &'a [f32],
    pub narrow: [&'a [f32]; 2],
}

impl FusedFeedForward {
    /// Widths of the values between the products of the backward pass.
    pub(super) fn widths(&self) -> [usize; BETWEEN] {
        let (hidden, intermediate) = (self.hidden, self.intermediate);
        let [inner, outer] = &self.branches;
        [
            intermediate,
            2 * intermediate,
            hidden,
            hidden,
            rank_of(inner),
            share_width(inner, 2 * intermediate),
            rank_of(outer),
            share_width(outer, hidden),
        ]
    }

    /// Computes the operands of the weights' gradients, and the gradient of x, for a chunk of rows.
    pub(super) fn between(
        &self,
        rows: &Rows,
        norm: &[f32],
        [inner, outer]: [BackwardGroup; 2],
        between: [&mut [f32]; BETWEEN],
        dx: &mut [f32],
    ) {
        let (hidden, intermediate) = (self.hidden, self.intermediate);
        let widths = self.widths();
        let [_, gate_up_tracked, _, branches_tracked, _] = self.parts.tracked;
        let between = between.map(Shared::new);
        let dx = Shared::new(dx);
        let dx_wanted = self.parts.x_gradient_is_needed();
        for_each_row_block(rows.scales.len(), |start, count, threads| {
            let of = |width: usize| start * width..(start + count) * width;
            // SAFETY: each row is in one row block.
            let mut parts: [&mut [f32]; BETWEEN] = std::array::from_fn(|side| unsafe {
                between[side].slice(start * widths[side], count * widths[side])
            });
            let [
                active,
                sides,
                normed,
                dnormed,
                dh_inner,
                shares_inner,
                dh_outer,
                shares_outer,
            ] = parts.each_mut();
            let (x, scales) = (&rows.x[of(hidden)], &rows.scales[of(1)]);
            let [dy, doutput] = [rows.dy, rows.doutput].map(|all| &all[of(hidden)]);
            let first = rows.first + start;
            with_buffer(count * intermediate, |dactive| {
                let doutput = Matrix::new(doutput, count, hidden);
                outer.input_gradient((first, doutput), dh_outer, Some(&mut *dactive), threads);
                let sides_of = 2 * intermediate;
                let gate_up = rows.gate_up.part(start * sides_of, count * sides_of);
                self.activation_gradient(gate_up, dactive, [active, sides]);
            });
            if let (Some(forward), Some(branches)) = (outer.forward, outer.branches) {
                let h = &rows.narrow[1][of(widths[6])];
                branches.share(forward, [active, h, dy], shares_outer, threads);
            }
            if gate_up_tracked || branches_tracked {
                normalize_again([x, norm], scales, normed);
                let h = &rows.narrow[0][of(widths[4])];
                inner.through_magnitudes([normed, h], sides, shares_inner, threads);
            } else if let Some(branches) = inner.branches {
                branches.scale(sides);
            }
            let sides = Matrix::new(sides, count, 2 * intermediate);
            let dinput = dx_wanted.then_some(&mut **dnormed);
            inner.input_gradient((first, sides), dh_inner, dinput, threads);
            if dx_wanted {
                // SAFETY: each row is in one row block.
                let dx = unsafe { dx.slice(start * hidden, count * hidden) };
                norm_residual_backward([x, norm], [&**dnormed, dy], scales, dx);
            }
        });
    }

    /// Adds the gradients of the weights over a chunk of rows.
    pub(super) fn add_gradients(
        &self,
        rows: &Rows,
        branches: &[Option<BranchWeights>; 2],
        between: &[&mut [f32]; BETWEEN],
        gradients: &mut [&mut [f32]; GROUPS],
    ) {
        let (hidden, intermediate) = (self.hidden, self.intermediate);
        let count = rows.scales.len();
        let [
            active,
            sides,
            normed,
            dnormed,
            dh_inner,
            shares_inner,
            dh_outer,
            shares_outer,
        ] = between;
        let [dnorm, dgate_up, ddown, dinner, douter] = gradients;
        let [
            norm_tracked,
            gate_up_tracked,
            down_tracked,
            inner_tracked,
            outer_tracked,
        ] = self.parts.tracked;
        let format = Format::of(self.precision);
        if down_tracked {
            let dy = Matrix::new(rows.doutput, count, hidden).transposed();
            let active = Matrix::new(active, count, intermediate);
            gemm_in(format, dy, active, ddown, Store::Add);
        }
        if gate_up_tracked {
            let sides = Matrix::new(sides, count, 2 * intermediate).transposed();
            let normed = Matrix::new(normed, count, hidden);
            gemm_in(format, sides, normed, dgate_up, Store::Add);
        }
        if norm_tracked {
            weight_gradient([rows.x, dnormed], rows.scales, dnorm);
        }
        let [inner, outer] = branches;
        if let (Some(branches), true) = (inner, inner_tracked) {
            let of_inner = BranchRows {
                first: rows.first,
                x: normed,
                h: rows.narrow[0],
                dh: dh_inner,
                dy: sides,
                shares: shares_inner,
            };
            branches.add_gradients(&of_inner, dinner);
        }
        if let (Some(branches), true) = (outer, outer_tracked) {
            let of_outer = BranchRows {
                first: rows.first,
                x: active,
                h: rows.narrow[1],
                dh: dh_outer,
                dy: rows.doutput,
                shares: shares_outer,
            };
            branches.add_gradients(&of_outer, douter);
        }
    }
}
