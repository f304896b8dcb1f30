//! Backward pass of the attention sublayer.

use super::{FloatViews, FusedSelfAttention};
use crate::fused::attention::{Gradients, Heads, Place};
use crate::fused::block::branch_rows::BranchRows;
use crate::fused::block::branches::BranchWeights;
use crate::fused::block::group::{BackwardGroup, rank_of, share_width};
use crate::fused::block::residual::norm_residual_backward;
use crate::fused::block::row_blocks::for_each_row_block;
use crate::fused::block::weights::GROUPS;
use crate::fused::gemm::driver::{Store, gemm};
use crate::fused::layers::rms_norm::{normalize_again, weight_gradient};
use crate::fused::simd::buffer::{Shared, with_buffer};
use crate::fused::simd::chunks::clear;
use crate::fused::simd::matrix::Matrix;
use crate::fused::simd::parallel::Threads;

/// Values between the products of the backward pass: the gradient of queries, keys and values, n, its gradient, the
/// gradient of their h and the shares of their magnitudes, and the same of output.
pub(super) const BETWEEN: usize = 7;

impl FusedSelfAttention {
    /// Widths of the values between the products of the backward pass.
    pub(super) fn widths(&self) -> [usize; BETWEEN] {
        let (hidden, width) = (self.shape[2], self.projected_width());
        let [inner, outer] = &self.branches;
        [
            width,
            hidden,
            hidden,
            rank_of(inner),
            share_width(inner, width),
            rank_of(outer),
            share_width(outer, hidden),
        ]
    }

    /// Computes the gradient of the turned projections, and the operands of the gradients of output's branches.
    /// `doutput` is the gradient of output's product: `dy` times output's factors.
    pub(super) fn output_gradient(
        &self,
        saved: &FloatViews,
        [dy, doutput]: [&[f32]; 2],
        group: BackwardGroup,
        between: &mut [&mut [f32]; BETWEEN],
    ) {
        let (rows, hidden) = (self.positions.len(), self.shape[2]);
        let mixed_width = self.heads * self.head_dim();
        let [dprojected, _, _, _, _, dh, shares] = between;
        if let (Some(forward), Some(branches)) = (group.forward, group.branches) {
            let operands = [saved.mixed, saved.narrow[1], dy];
            branches.share(forward, operands, shares, Threads::All);
        }
        with_buffer(rows * mixed_width, |dmixed| {
            let doutput = Matrix::new(doutput, rows, hidden);
            group.input_gradient((0, doutput), dh, Some(&mut *dmixed), Threads::All);
            self.attention_gradient(saved, dmixed, dprojected);
        });
    }

    /// Turns the projections' gradient back, and finds what they were projected from and its gradient, and that of x.
    pub(super) fn projection_gradient(
        &self,
        [x, norm, dy]: [&[f32]; 3],
        saved: &FloatViews,
        group: BackwardGroup,
        between: &mut [&mut [f32]; BETWEEN],
        dx: &mut [f32],
    ) {
        let hidden = self.shape[2];
        let widths = self.widths();
        let [_, projections_tracked, _, branches_tracked, _] = self.parts.tracked;
        let dx_wanted = self.parts.x_gradient_is_needed();
        let between = between.each_mut().map(|part| Shared::new(part));
        let dx = Shared::new(dx);
        for_each_row_block(saved.scales.len(), |start, count, threads| {
            let (start_of, length) = (start * hidden, count * hidden);
            let (x, scales) = (&x[start_of..][..length], &saved.scales[start..][..count]);
            // SAFETY: each row is in one row block.
            let mut parts: [&mut [f32]; 5] = std::array::from_fn(|side| unsafe {
                between[side].slice(start * widths[side], count * widths[side])
            });
            let [dprojected, normed, dnormed, dh, shares] = parts.each_mut();
            if !self.norms_heads {
                self.turn(start, dprojected, -1.0);
            }
            if projections_tracked || branches_tracked {
                normalize_again([x, norm], scales, normed);
                let h = &saved.narrow[0][start * widths[3]..][..count * widths[3]];
                group.through_magnitudes([normed, h], dprojected, shares, threads);
            } else if let Some(branches) = group.branches {
                branches.scale(dprojected);
            }
            let dprojected = Matrix::new(dprojected, count, widths[0]);
            let dinput = dx_wanted.then_some(&mut **dnormed);
            group.input_gradient((start, dprojected), dh, dinput, threads);
            if dx_wanted {
                let dy = &dy[start_of..][..length];
                // SAFETY: each row is in one row block.
                let dx = unsafe { dx.slice(start_of, length) };
                norm_residual_backward([x, norm], [&**dnormed, dy], scales, dx);
            }
        });
    }

    /// The gradient of the turned projections from that of the attention's output.
    pub(super) fn attention_gradient(
        &self,
        saved: &FloatViews,
        dmixed: &[f32],
        dprojected: &mut [f32],
    ) {
        clear(dprojected);
        let [batch, sequence, _] = self.shape;
        let memory = Shared::new(dprojected);
        let [q, k, v] = self.sides().map(|(start, _)| Place {
            memory,
            start,
            strides: self.strides(),
        });
        let dims = [batch, sequence, self.heads, self.head_dim()];
        let sides = [saved.mixed, dmixed].map(|side| Heads::contiguous(side, dims));
        let shapes = self.shapes(saved.projected);
        shapes.backward(sides, saved.log_sums, Gradients { q, k, v });
    }

    /// Adds the gradients of the weights, all but those of the norms of heads.
    pub(super) fn add_gradients(
        &self,
        saved: &FloatViews,
        [x, of_product]: [&[f32]; 2],
        branches: &[Option<BranchWeights>; 2],
        between: &[&mut [f32]; BETWEEN],
        [dnorm, dprojections, doutput, dinner, douter]: [&mut [f32]; GROUPS],
    ) {
        let (rows, hidden) = (self.positions.len(), self.shape[2]);
        let [
            dprojected,
            normed,
            dnormed,
            dh_inner,
            shares_inner,
            dh_outer,
            shares_outer,
        ] = between;
        let [
            norm_tracked,
            projections_tracked,
            output_tracked,
            inner_tracked,
            outer_tracked,
        ] = self.parts.tracked;
        let (replace, precision) = (Store::Replace, self.precision);
        if output_tracked {
            let gradient = Matrix::new(of_product, rows, hidden).transposed();
            let mixed = Matrix::new(saved.mixed, rows, self.heads * self.head_dim());
            gemm(gradient, mixed, doutput, replace, precision);
        }
        if projections_tracked {
            let gradient = Matrix::new(dprojected, rows, self.projected_width()).transposed();
            let normed = Matrix::new(normed, rows, hidden);
            gemm(gradient, normed, dprojections, replace, precision);
        }
        if norm_tracked {
            weight_gradient([x, dnormed], saved.scales, dnorm);
        }
        let [inner, outer] = branches;
        if let (Some(branches), true) = (inner, inner_tracked) {
            let of_inner = BranchRows {
                first: 0,
                x: normed,
                h: saved.narrow[0],
                dh: dh_inner,
                dy: dprojected,
                shares: shares_inner,
            };
            branches.add_gradients(&of_inner, dinner);
        }
        if let (Some(branches), true) = (outer, outer_tracked) {
            let of_outer = BranchRows {
                first: 0,
                x: saved.mixed,
                h: saved.narrow[1],
                dh: dh_outer,
                dy: of_product,
                shares: shares_outer,
            };
            branches.add_gradients(&of_outer, douter);
        }
    }
}
