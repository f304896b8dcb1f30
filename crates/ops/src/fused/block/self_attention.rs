//! x + output·attention(rope(query·n), rope(key·n), value·n), n = norm(x), as one operation.

use std::sync::Arc;

use candle_core::{Result, Tensor};

use super::head_norm::{NormedHeads, SavedNorm};
use super::residual::norm_residual_backward;
use super::row_blocks::for_each_row_block;
use super::sublayer::{Sublayer, apply};
use super::weights::{Parts, Weights};
use crate::fused::attention::{Gradients, Heads, Place, Shapes};
use crate::fused::gemm::driver::{Store, gemm, gemm_into, with_packed};
use crate::fused::gemm::format::Format;
use crate::fused::layers::rms_norm::{normalize, normalize_again, weight_gradient};
use crate::fused::layers::rope::rotate_in_place;
use crate::fused::simd::buffer::{Shared, filled, split, with_buffer};
use crate::fused::simd::chunks::{clear, write};
use crate::fused::simd::matrix::Matrix;
use crate::fused::simd::parallel::for_each;
use crate::{Placement, Precision, RotaryTable, Segments, SelfAttention};

/// Positions of a task.
const POSITIONS: usize = 64;

struct FusedSelfAttention {
    /// norm (hidden) and the norms of queries and keys (d each) where there are such, query, key and value ((heads +
    /// 2·kv_heads)·d, hidden), output (hidden, heads·d).
    parts: Parts,
    shape: [usize; 3],
    heads: usize,
    kv_heads: usize,
    epsilon: f64,
    norms_heads: bool,
    precision: Precision,
    rotary: RotaryTable,
    positions: Arc<[u32]>,
    segments: Segments,
}

/// Values of the forward pass that the backward pass needs; it recomputes the rest.
pub(super) struct Saved {
    projected: Projected,
    /// The attention's output: (rows, heads·d).
    mixed: Vec<f32>,
    log_sums: Vec<f32>,
}

/// Operands of attention.
struct Projected {
    /// The norm's factor of each row.
    scales: Vec<f32>,
    /// Queries, keys (both turned) and values side by side: (rows, (heads + 2·kv_heads)·d).
    values: Vec<f32>,
    heads: Option<SavedNorm>,
}

/// Applies the attention sublayer: (batch, sequence, hidden) → (batch, sequence, hidden).
pub(crate) fn self_attention(
    x: &Tensor,
    weights: &SelfAttention,
    placement: &Placement,
    precision: Precision,
) -> Result<Tensor> {
    let (batch, sequence, hidden) = x.dims3()?;
    let projections: &[&Tensor] = &[weights.query, weights.key, weights.value];
    let mut norms = vec![weights.norm];
    norms.extend(
        weights
            .query_key_norm
            .iter()
            .flat_map(|(query, key)| [*query, *key]),
    );
    let taken = Weights::new(x, [&norms, projections, &[weights.output]])?;
    let head_dim = 2 * placement.rotary.frequencies();
    let operation = FusedSelfAttention {
        parts: taken.parts.clone(),
        shape: [batch, sequence, hidden],
        heads: weights.query.dim(0)? / head_dim,
        kv_heads: weights.key.dim(0)? / head_dim,
        epsilon: weights.epsilon,
        norms_heads: weights.query_key_norm.is_some(),
        precision,
        rotary: placement.rotary.clone(),
        positions: Arc::clone(placement.positions),
        segments: placement.segments.clone(),
    };
    apply(x, taken, operation)
}

impl FusedSelfAttention {
    fn head_dim(&self) -> usize {
        2 * self.rotary.frequencies()
    }

    /// (heads + 2·kv_heads)·d.
    fn projected_width(&self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.head_dim()
    }

    /// Returns the start of queries, keys and values in a projected row, and the number of heads of each.
    fn sides(&self) -> [(usize, usize); 3] {
        let keys = self.heads * self.head_dim();
        let values = keys + self.kv_heads * self.head_dim();
        [
            (0, self.heads),
            (keys, self.kv_heads),
            (values, self.kv_heads),
        ]
    }

    fn strides(&self) -> [usize; 3] {
        let width = self.projected_width();
        [self.shape[1] * width, width, self.head_dim()]
    }

    fn shapes<'a>(&'a self, projected: &'a [f32]) -> Shapes<'a> {
        let [batch, sequence, _] = self.shape;
        let [q, k, v] = self.sides().map(|(start, heads)| Heads {
            data: &projected[start.min(projected.len())..],
            dims: [batch, sequence, heads, self.head_dim()],
            strides: self.strides(),
        });
        Shapes {
            q,
            k,
            v,
            segments: &self.segments,
            format: Format::of_small(self.precision),
        }
    }

    /// Turns queries and keys of some rows, from `start` on, by their positions' angles, or back.
    fn turn(&self, start: usize, projected: &mut [f32], direction: f32) {
        let width = self.projected_width();
        let turned = (self.heads + self.kv_heads) * self.head_dim();
        let work = 8 * projected.len();
        let positions = &self.positions[start..start + projected.len() / width];
        let projected = Shared::new(projected);
        for_each(positions.len().div_ceil(POSITIONS), work, |task| {
            for (row, position) in positions
                .iter()
                .enumerate()
                .skip(task * POSITIONS)
                .take(POSITIONS)
            {
                // SAFETY: each row is in one task.
                let heads = unsafe { projected.slice(row * width, turned) };
                rotate_in_place(heads, self.rotary.at(*position), direction);
            }
        });
    }

    /// Queries, keys and values of all rows, and what else is saved of their making.
    fn project(&self, x: &[f32], norms: &[f32], projections: &[f32]) -> Projected {
        let (hidden, width) = (self.shape[2], self.projected_width());
        let (norm, head_norms) = norms.split_at(hidden);
        let rows = self.positions.len();
        let mut scales = vec![0.0; rows];
        let weight = Matrix::new(projections, width, hidden).transposed();
        let fill = |projected: Shared| {
            let scales = Shared::new(&mut scales);
            with_packed(weight, rows, Format::of(self.precision), |weight| {
                for_each_row_block(rows, |start, count, threads| {
                    let projected = projected.part(start * width, count * width);
                    // SAFETY: each row is in one row block.
                    let scales = unsafe { scales.slice(start, count) };
                    with_buffer(count * hidden, |normed| {
                        let x = &x[start * hidden..][..count * hidden];
                        normalize([x, norm], self.epsilon, Shared::new(normed), scales);
                        let normed = Matrix::new(normed, count, hidden);
                        weight.multiply_into(normed, projected, Store::Replace, threads);
                    });
                    if !self.norms_heads {
                        // SAFETY: each row is in one row block, and the product has replaced every element.
                        let projected = unsafe { projected.slice(0, projected.len()) };
                        self.turn(start, projected, 1.0);
                    }
                });
            });
        };
        // SAFETY: the product replaces every element.
        let mut values = unsafe { filled(rows * width, fill) };
        let heads = self.normed_heads().map(|heads| {
            let saved = heads.normalize(head_norms, &mut values);
            self.turn(0, &mut values, 1.0);
            saved
        });
        Projected {
            scales,
            values,
            heads,
        }
    }

    /// Queries and keys, where they have norms.
    fn normed_heads(&self) -> Option<NormedHeads> {
        self.norms_heads.then(|| NormedHeads {
            query_heads: self.heads,
            key_heads: self.kv_heads,
            head_dim: self.head_dim(),
            row_width: self.projected_width(),
            epsilon: self.epsilon,
        })
    }

    /// The gradient of the turned projections from that of the attention's output.
    fn attention_gradient(&self, saved: &Saved, dmixed: &[f32], dprojected: &mut [f32]) {
        clear(dprojected);
        let [batch, sequence, _] = self.shape;
        let memory = Shared::new(dprojected);
        let [q, k, v] = self.sides().map(|(start, _)| Place {
            memory,
            start,
            strides: self.strides(),
        });
        let dims = [batch, sequence, self.heads, self.head_dim()];
        let sides = [&saved.mixed[..], dmixed].map(|side| Heads::contiguous(side, dims));
        let shapes = self.shapes(&saved.projected.values);
        shapes.backward(sides, &saved.log_sums, Gradients { q, k, v });
    }

    /// Turns the projections' gradient back, and finds what they were projected from and its gradient, and that of x.
    fn projection_gradient(
        &self,
        [x, norm, projections]: [&[f32]; 3],
        dy: &[f32],
        scales: &[f32],
        sides: [&mut [f32]; 4],
    ) {
        let (hidden, width) = (self.shape[2], self.projected_width());
        let [_, projections_tracked, _] = self.parts.tracked;
        let rows = scales.len();
        let weight = Matrix::new(projections, width, hidden);
        let [dprojected, normed, dnormed, dx] = sides.map(Shared::new);
        with_packed(weight, rows, Format::of(self.precision), |weight| {
            for_each_row_block(rows, |start, count, threads| {
                let (start_of, length) = (start * hidden, count * hidden);
                let (x, scales) = (&x[start_of..][..length], &scales[start..][..count]);
                // SAFETY: each row is in one row block.
                let (dprojected, normed, dnormed) = unsafe {
                    (
                        dprojected.slice(start * width, count * width),
                        normed.slice(start_of, length),
                        dnormed.slice(start_of, length),
                    )
                };
                if !self.norms_heads {
                    self.turn(start, dprojected, -1.0);
                }
                if projections_tracked {
                    normalize_again([x, norm], scales, normed);
                }
                if self.parts.x_gradient_is_needed() {
                    let dprojected = Matrix::new(dprojected, count, width);
                    weight.multiply(dprojected, dnormed, Store::Replace, threads);
                    let dy = &dy[start_of..][..length];
                    // SAFETY: each row is in one row block.
                    let dx = unsafe { dx.slice(start_of, length) };
                    norm_residual_backward([x, norm], [&*dnormed, dy], scales, dx);
                }
            });
        });
    }
}

impl Sublayer for FusedSelfAttention {
    const NAME: &'static str = "self-attention";
    type Saved = Saved;

    fn parts(&self) -> &Parts {
        &self.parts
    }

    fn forward(&self, x: &[f32], flat: &[f32], y: Shared) -> Saved {
        let [batch, sequence, hidden] = self.shape;
        let [norms, projections, output] = self.parts.of(flat);
        let rows = batch * sequence;
        let projected = self.project(x, norms, projections);
        let mut log_sums = vec![0.0; rows * self.heads];
        let mixed_width = self.heads * self.head_dim();
        let shapes = self.shapes(&projected.values);
        let fill = |mixed: Shared| shapes.forward(mixed, &mut log_sums);
        // SAFETY: every head of every position is written.
        let mixed = unsafe { filled(rows * mixed_width, fill) };
        write(x, y);
        let output = Matrix::new(output, hidden, mixed_width).transposed();
        let factors = Matrix::new(&mixed, rows, mixed_width);
        gemm_into(Format::of(self.precision), factors, output, y, Store::Add);
        Saved {
            projected,
            mixed,
            log_sums,
        }
    }

    fn backward(
        &self,
        saved: &Saved,
        [x, flat, dy]: [&[f32]; 3],
        dx: &mut [f32],
        dflat: &mut [f32],
    ) {
        let [batch, sequence, hidden] = self.shape;
        let [norms, projections, output] = self.parts.of(flat);
        let (norm, head_norms) = norms.split_at(hidden);
        let [dnorms, dprojections, doutput] = self.parts.of_mut(dflat);
        let (dnorm, dhead_norms) = dnorms.split_at_mut(hidden);
        let [norm_tracked, projections_tracked, output_tracked] = self.parts.tracked;
        let dx_wanted = self.parts.x_gradient_is_needed();
        let (rows, width) = (batch * sequence, self.projected_width());
        let mixed_width = self.heads * self.head_dim();
        let (replace, precision) = (Store::Replace, self.precision);
        let gradient = Matrix::new(dy, rows, hidden);
        if output_tracked {
            let mixed = Matrix::new(&saved.mixed, rows, mixed_width);
            gemm(gradient.transposed(), mixed, doutput, replace, precision);
        }
        if !(dx_wanted || projections_tracked) {
            return;
        }
        let lengths = [width, hidden, hidden].map(|width| rows * width);
        with_buffer(lengths.iter().sum(), |between| {
            let [dprojected, normed, dnormed] = split(between, lengths);
            with_buffer(rows * mixed_width, |dmixed| {
                let output = Matrix::new(output, hidden, mixed_width);
                gemm(gradient, output, dmixed, replace, precision);
                self.attention_gradient(saved, dmixed, dprojected);
            });
            if let (Some(heads), Some(saved)) = (self.normed_heads(), &saved.projected.heads) {
                self.turn(0, dprojected, -1.0);
                heads.gradient(saved, head_norms, dprojected, dhead_norms);
            }
            let scales = &saved.projected.scales[..];
            self.projection_gradient(
                [x, norm, projections],
                dy,
                scales,
                [&mut *dprojected, &mut *normed, &mut *dnormed, dx],
            );
            if projections_tracked {
                let dprojected = Matrix::new(dprojected, rows, width).transposed();
                let normed = Matrix::new(normed, rows, hidden);
                gemm(dprojected, normed, dprojections, replace, precision);
            }
            if norm_tracked {
                weight_gradient([x, dnormed], scales, dnorm);
            }
        });
    }
}
