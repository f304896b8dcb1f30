//! x + output·attention(rope(query·n), rope(key·n), value·n), n = norm(x), as one operation.

mod backward;

use std::sync::Arc;

use candle_core::{Result, Tensor};

use super::branches::{BranchWeights, Branches, branch_tensors};
use super::group::{Group, GroupWeights, rank_of};
use super::head_norm::{NormedHeads, SavedNorm};
use super::row_blocks::for_each_row_block;
use super::sublayer::{Sublayer, apply};
use super::weights::{GROUPS, Parts, Weights};
use crate::fused::attention::{Heads, Shapes};
use crate::fused::gemm::driver::Store;
use crate::fused::gemm::format::Format;
use crate::fused::layers::rms_norm::normalize;
use crate::fused::layers::rope::rotate_in_place;
use crate::fused::simd::buffer::{Shared, filled, split, with_buffer};
use crate::fused::simd::chunks::write;
use crate::fused::simd::kept::{Kept, with_floats};
use crate::fused::simd::matrix::Matrix;
use crate::fused::simd::parallel::{Threads, for_each};
use crate::{Placement, Precision, RotaryTable, Segments, SelfAttention};

/// Positions of a task.
const POSITIONS: usize = 64;

struct FusedSelfAttention {
    /// Weights: norm (hidden), the norms of queries and keys (d each) if the model has them, query, key and value
    /// ((heads + 2·kv_heads)·d, hidden), output (hidden, heads·d), and the branches of both groups of projections.
    parts: Parts,
    /// Branches of query, key and value, and of output.
    branches: [Option<Branches>; 2],
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
    /// The norm's factor of each row.
    scales: Vec<f32>,
    /// Norms of heads.
    heads: Option<SavedNorm>,
    /// Queries, keys (both turned) and values side by side: (rows, (heads + 2·kv_heads)·d).
    projected: Kept,
    /// The attention's output: (rows, heads·d).
    mixed: Kept,
    log_sums: Vec<f32>,
    /// h of the branches of query, key and value, and of output: (rows, rank).
    narrow: [Kept; 2],
}

/// Operands of attention.
struct Projected {
    /// The norm's factor of each row.
    scales: Vec<f32>,
    values: Vec<f32>,
    narrow: Vec<f32>,
    heads: Option<SavedNorm>,
}

/// Saved values as f32.
struct FloatViews<'a> {
    projected: &'a [f32],
    mixed: &'a [f32],
    narrow: [&'a [f32]; 2],
    scales: &'a [f32],
    log_sums: &'a [f32],
}

impl Saved {
    /// Lends the values as f32.
    fn with_floats<R>(&self, work: impl FnOnce(&FloatViews) -> R) -> R {
        let [inner, outer] = &self.narrow;
        let kept = [&self.projected, &self.mixed, inner, outer];
        with_floats(kept.map(Kept::all), |[projected, mixed, inner, outer]| {
            work(&FloatViews {
                projected,
                mixed,
                narrow: [inner, outer],
                scales: &self.scales,
                log_sums: &self.log_sums,
            })
        })
    }
}

/// Applies the attention sublayer: (batch, sequence, hidden) → (batch, sequence, hidden).
pub(crate) fn self_attention(
    x: &Tensor,
    weights: &SelfAttention,
    placement: &Placement,
    precision: Precision,
) -> Result<Tensor> {
    let (batch, sequence, hidden) = x.dims3()?;
    let inner = [weights.query, weights.key, weights.value];
    let outer = [weights.output];
    let mut norms = vec![weights.norm];
    norms.extend(
        weights
            .query_key_norm
            .iter()
            .flat_map(|(query, key)| [*query, *key]),
    );
    let groups: [&[&Tensor]; GROUPS] = [
        &norms,
        &inner.map(|part| part.weight),
        &outer.map(|part| part.weight),
        &branch_tensors(&inner),
        &branch_tensors(&outer),
    ];
    let taken = Weights::new(x, groups)?;
    let head_dim = 2 * placement.rotary.frequencies();
    let operation = FusedSelfAttention {
        parts: taken.parts.clone(),
        branches: [
            Branches::new(&inner, sequence, precision)?,
            Branches::new(&outer, sequence, precision)?,
        ],
        shape: [batch, sequence, hidden],
        heads: weights.query.weight.dim(0)? / head_dim,
        kv_heads: weights.key.weight.dim(0)? / head_dim,
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

    /// Weights of query, key and value, and of output.
    fn groups<'a>(
        &self,
        flat: &'a [f32],
        branches: &'a [Option<BranchWeights<'a>>; 2],
    ) -> [GroupWeights<'a>; 2] {
        let [_, projections, output, ..] = self.parts.of(flat);
        let (hidden, mixed_width) = (self.shape[2], self.heads * self.head_dim());
        let [inner, outer] = branches;
        let group = |weight, branches: &'a Option<BranchWeights<'a>>| GroupWeights {
            weight,
            branches: branches.as_ref(),
            rows: self.positions.len(),
            format: Format::of(self.precision),
        };
        [
            group(
                Matrix::new(projections, self.projected_width(), hidden),
                inner,
            ),
            group(Matrix::new(output, hidden, mixed_width), outer),
        ]
    }

    /// Queries, keys and values of all rows, and what else is saved of their making.
    fn project(&self, x: &[f32], norms: &[f32], group: &GroupWeights) -> Projected {
        let (hidden, width) = (self.shape[2], self.projected_width());
        let (norm, head_norms) = norms.split_at(hidden);
        let rows = self.positions.len();
        let mut scales = vec![0.0; rows];
        let rank = rank_of(&self.branches[0]);
        let mut narrow = vec![0.0; rows * rank];
        let fill = |projected: Shared| {
            let (scales, narrow) = (Shared::new(&mut scales), Shared::new(&mut narrow));
            group.with_forward(|group: Group| {
                for_each_row_block(rows, |start, count, threads| {
                    let projected = projected.part(start * width, count * width);
                    let narrow = narrow.part(start * rank, count * rank);
                    // SAFETY: each row is in one row block.
                    let scales = unsafe { scales.slice(start, count) };
                    with_buffer(count * hidden, |normed| {
                        let x = &x[start * hidden..][..count * hidden];
                        normalize([x, norm], self.epsilon, Shared::new(normed), scales);
                        let input = (start, Matrix::new(normed, count, hidden));
                        let how = (Store::Replace, threads);
                        // SAFETY: each row is in one row block.
                        unsafe { group.project(input, [narrow, projected], how) };
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
            narrow,
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
            precision: self.precision,
        })
    }
}

impl Sublayer for FusedSelfAttention {
    const NAME: &'static str = "self-attention";
    type Saved = Saved;

    fn parts(&self) -> &Parts {
        &self.parts
    }

    fn forward(&self, x: &[f32], flat: &[f32], y: Shared) -> Saved {
        let rows = self.positions.len();
        let branches = self.parts.branch_weights(&self.branches, flat);
        let [inner, outer] = self.groups(flat, &branches);
        let projected = self.project(x, self.parts.of(flat)[0], &inner);
        let mut log_sums = vec![0.0; rows * self.heads];
        let mixed_width = self.heads * self.head_dim();
        let shapes = self.shapes(&projected.values);
        let fill = |mixed: Shared| shapes.forward(mixed, &mut log_sums);
        // SAFETY: every head of every position is written.
        let mixed = unsafe { filled(rows * mixed_width, fill) };
        write(x, y);
        let mut narrow = vec![0.0; rows * rank_of(&self.branches[1])];
        outer.with_forward(|group| {
            let results = [Shared::new(&mut narrow), y];
            let input = (0, Matrix::new(&mixed, rows, mixed_width));
            // SAFETY: no other task runs.
            unsafe { group.project(input, results, (Store::Add, Threads::All)) };
        });
        let keep = |values| Kept::new(values, self.precision);
        Saved {
            scales: projected.scales,
            heads: projected.heads,
            projected: keep(projected.values),
            mixed: keep(mixed),
            log_sums,
            narrow: [projected.narrow, narrow].map(keep),
        }
    }

    fn backward(
        &self,
        saved: &Saved,
        [x, flat, dy]: [&[f32]; 3],
        dx: &mut [f32],
        dflat: &mut [f32],
    ) {
        let (norm, head_norms) = self.parts.of(flat)[0].split_at(self.shape[2]);
        let mut gradients = self.parts.of_gradient(dflat);
        let [
            norm_tracked,
            projections_tracked,
            _,
            inner_tracked,
            outer_tracked,
        ] = self.parts.tracked;
        let is_deep = projections_tracked || inner_tracked || self.parts.x_gradient_is_needed();
        let branches = self.parts.branch_weights(&self.branches, flat);
        let [inner, outer] = self.groups(flat, &branches);
        let rows = self.positions.len();
        let lengths = self.widths().map(|width| rows * width);
        let pass = |lent: &FloatViews, doutput: &[f32], between: &mut [f32]| {
            let mut between = split(between, lengths);
            if is_deep || outer_tracked {
                outer.with_backward(|group| {
                    self.output_gradient(lent, [dy, doutput], group, &mut between);
                });
            }
            if is_deep {
                if let (Some(heads), Some(of_heads)) = (self.normed_heads(), &saved.heads) {
                    self.turn(0, between[0], -1.0);
                    let mut own = vec![0.0; head_norms.len()];
                    heads.gradient(of_heads, head_norms, between[0], &mut own);
                    if norm_tracked {
                        gradients[0][self.shape[2]..].copy_from_slice(&own);
                    }
                }
                inner.with_backward(|group| {
                    let operands = [x, norm, dy];
                    self.projection_gradient(operands, lent, group, &mut between, dx);
                });
            }
            if norm_tracked {
                // The norms of heads come after it, and are done.
                let all = std::mem::take(&mut gradients[0]);
                gradients[0] = &mut all[..self.shape[2]];
            }
            self.add_gradients(lent, [x, doutput], &branches, &between, gradients);
        };
        saved.with_floats(|lent| {
            outer.with_scaled(dy, |doutput| {
                with_buffer(lengths.iter().sum(), |between| pass(lent, doutput, between));
            });
        });
    }
}
