//! x + down·swiglu(gate·n, up·n), n = norm(x), as one operation.

mod backward;

use candle_core::{Result, Tensor};

use self::backward::Rows;
use super::branches::{BranchWeights, Branches, branch_tensors};
use super::group::{BackwardGroup, Group, GroupWeights, rank_of};
use super::row_blocks::for_each_row_block;
use super::sublayer::{Sublayer, apply};
use super::weights::{GROUPS, Parts, Weights};
use crate::fused::gemm::driver::Store;
use crate::fused::gemm::format::Format;
use crate::fused::layers::rms_norm::normalize;
use crate::fused::layers::swiglu;
use crate::fused::simd::buffer::{Shared, split, with_buffer};
use crate::fused::simd::kept::{Kept, KeptPart, SharedKept, with_floats};
use crate::fused::simd::matrix::Matrix;
use crate::fused::simd::parallel::{Threads, for_each};
use crate::{FeedForward, Precision};

/// Rows of a task of the activation alone.
const ROWS: usize = 32;
/// Rows from which the weights' gradients are summed at a time, so that these rows are still in the third cache. The
/// sums have this order for any number of threads.
pub(crate) const FEED_FORWARD_ROWS: usize = 2048;

struct FusedFeedForward {
    /// Weights: norm (hidden), gate and up (2·intermediate, hidden), down (hidden, intermediate), and the branches of
    /// both projections.
    parts: Parts,
    /// Branches of gate and up, and of down.
    branches: [Option<Branches>; 2],
    hidden: usize,
    intermediate: usize,
    epsilon: f64,
    precision: Precision,
}

/// Values of the forward pass that the backward pass needs; it recomputes the rest.
pub(super) struct Saved {
    /// The norm's factor of each row.
    scales: Vec<f32>,
    /// gate·n and up·n side by side: (rows, 2·intermediate).
    gate_up: Kept,
    /// h of the branches of gate and up, and of down: (rows, rank).
    narrow: [Kept; 2],
}

/// Applies the feed-forward sublayer: (batch, sequence, hidden) → (batch, sequence, hidden).
pub(crate) fn feed_forward(
    x: &Tensor,
    weights: &FeedForward,
    precision: Precision,
) -> Result<Tensor> {
    let (inner, outer) = ([weights.gate, weights.up], [weights.down]);
    let groups: [&[&Tensor]; GROUPS] = [
        &[weights.norm],
        &inner.map(|part| part.weight),
        &outer.map(|part| part.weight),
        &branch_tensors(&inner),
        &branch_tensors(&outer),
    ];
    let taken = Weights::new(x, groups)?;
    let sequence = x.dim(1)?;
    let operation = FusedFeedForward {
        parts: taken.parts.clone(),
        branches: [
            Branches::new(&inner, sequence, precision)?,
            Branches::new(&outer, sequence, precision)?,
        ],
        hidden: weights.norm.elem_count(),
        intermediate: weights.gate.weight.dim(0)?,
        epsilon: weights.epsilon,
        precision,
    };
    apply(x, taken, operation)
}

impl FusedFeedForward {
    /// swiglu of each row's two sides.
    fn activate(&self, gate_up: KeptPart, y: &mut [f32]) {
        let width = self.intermediate;
        let rows = y.len() / width;
        let y = Shared::new(y);
        for_each(rows.div_ceil(ROWS), 16 * gate_up.len(), |task| {
            for row in task * ROWS..rows.min((task + 1) * ROWS) {
                // SAFETY: each row is written by one task.
                let y = unsafe { y.slice(row * width, width) };
                let sides = gate_up.part(row * 2 * width, 2 * width);
                sides.with_floats(|sides| {
                    let (gate, up) = sides.split_at(width);
                    swiglu::forward(gate, up, y);
                });
            }
        });
    }

    /// swiglu of each row's two sides, and the gradient of both sides from that of swiglu.
    fn activation_gradient(&self, gate_up: KeptPart, dy: &[f32], [y, gradient]: [&mut [f32]; 2]) {
        let width = self.intermediate;
        let rows = dy.len() / width;
        let [y, gradient] = [y, gradient].map(Shared::new);
        for_each(rows.div_ceil(ROWS), 16 * gate_up.len(), |task| {
            for row in task * ROWS..rows.min((task + 1) * ROWS) {
                let sides = gate_up.part(row * 2 * width, 2 * width);
                // SAFETY: each row is written by one task.
                let (y, gradient) = unsafe {
                    (
                        y.slice(row * width, width),
                        gradient.slice(row * 2 * width, 2 * width),
                    )
                };
                let dy = &dy[row * width..][..width];
                sides.with_floats(|sides| swiglu::row_gradient(sides, dy, y, gradient));
            }
        });
    }

    /// Weights of both groups for products with so many rows.
    fn groups<'a>(
        &self,
        flat: &'a [f32],
        branches: &'a [Option<BranchWeights<'a>>; 2],
        rows: usize,
    ) -> [GroupWeights<'a>; 2] {
        let [_, gate_up, down, ..] = self.parts.of(flat);
        let (hidden, intermediate) = (self.hidden, self.intermediate);
        let [inner, outer] = branches;
        let group = |weight, branches: &'a Option<BranchWeights<'a>>| GroupWeights {
            weight,
            branches: branches.as_ref(),
            rows,
            format: Format::of(self.precision),
        };
        [
            group(Matrix::new(gate_up, 2 * intermediate, hidden), inner),
            group(Matrix::new(down, hidden, intermediate), outer),
        ]
    }

    /// y = x + f(x) for some rows, from `first` on; `gate_up`, `scales` and the narrow values are what is saved of
    /// them. Both y and `gate_up` may hold nothing yet.
    ///
    /// # Safety
    /// No other task uses these rows of the results.
    unsafe fn forward_rows(
        &self,
        (first, [x, norm]): (usize, [&[f32]; 2]),
        [inner, outer]: [Group; 2],
        ([y, scales], gate_up): ([Shared; 2], SharedKept),
        [narrow_inner, narrow_outer]: [Shared; 2],
        threads: Threads,
    ) {
        let rows = scales.len();
        // SAFETY: promised by the caller.
        let scales = unsafe { scales.slice(0, rows) };
        let fill = |gate_up: Shared| {
            with_buffer(rows * self.hidden, |normed| {
                normalize([x, norm], self.epsilon, Shared::new(normed), scales);
                let normed = Matrix::new(normed, rows, self.hidden);
                let results = [narrow_inner, gate_up];
                // SAFETY: promised by the caller.
                unsafe { inner.project((first, normed), results, (Store::Replace, threads)) };
            });
            // SAFETY: promised by the caller.
            unsafe { y.write(0, x) };
            with_buffer(rows * self.intermediate, |active| {
                // SAFETY: the first product has replaced every element.
                let gate_up = unsafe { gate_up.slice(0, gate_up.len()) };
                self.activate(KeptPart::Plain(gate_up), active);
                let active = Matrix::new(active, rows, self.intermediate);
                let results = [narrow_outer, y];
                // SAFETY: promised by the caller.
                unsafe { outer.project((first, active), results, (Store::Add, threads)) };
            });
        };
        // SAFETY: promised by the caller; the first product replaces every element.
        unsafe { gate_up.fill(fill) };
    }
}

impl Sublayer for FusedFeedForward {
    const NAME: &'static str = "feed-forward";
    type Saved = Saved;

    fn parts(&self) -> &Parts {
        &self.parts
    }

    fn forward(&self, x: &[f32], flat: &[f32], y: Shared) -> Saved {
        let (hidden, intermediate) = (self.hidden, self.intermediate);
        let norm = self.parts.of(flat)[0];
        let rows = x.len() / hidden;
        let branches = self.parts.branch_weights(&self.branches, flat);
        let [inner, outer] = self.groups(flat, &branches, rows);
        let ranks = [0, 1].map(|group| rank_of(&self.branches[group]));
        let mut narrow = ranks.map(|rank| vec![0.0; rows * rank]);
        let mut scales = vec![0.0; rows];
        let fill = |gate_up: SharedKept| {
            let scales = Shared::new(&mut scales);
            let narrow = narrow.each_mut().map(|narrow| Shared::new(narrow));
            inner.with_forward(|inner| {
                outer.with_forward(|outer| {
                    for_each_row_block(rows, |start, count, threads| {
                        let x = &x[start * hidden..][..count * hidden];
                        let results = [
                            y.part(start * hidden, count * hidden),
                            scales.part(start, count),
                        ];
                        let sides = 2 * intermediate;
                        let results = (results, gate_up.part(start * sides, count * sides));
                        let narrow = [0, 1].map(|group| {
                            narrow[group].part(start * ranks[group], count * ranks[group])
                        });
                        let (input, groups) = ((start, [x, norm]), [inner, outer]);
                        // SAFETY: each row is in one row block.
                        unsafe { self.forward_rows(input, groups, results, narrow, threads) };
                    });
                });
            });
        };
        // SAFETY: the first product replaces every element.
        let gate_up = unsafe { Kept::filled(rows * 2 * intermediate, self.precision, fill) };
        Saved {
            scales,
            gate_up,
            narrow: narrow.map(|narrow| Kept::new(narrow, self.precision)),
        }
    }

    fn backward(
        &self,
        saved: &Saved,
        [x, flat, dy]: [&[f32]; 3],
        dx: &mut [f32],
        dflat: &mut [f32],
    ) {
        let (hidden, intermediate) = (self.hidden, self.intermediate);
        let norm = self.parts.of(flat)[0];
        let mut gradients = self.parts.of_gradient(dflat);
        let [_, gate_up_tracked, _, inner_tracked, outer_tracked] = self.parts.tracked;
        let is_deep =
            gate_up_tracked || inner_tracked || outer_tracked || self.parts.x_gradient_is_needed();
        let all_rows = saved.scales.len();
        let branches = self.parts.branch_weights(&self.branches, flat);
        let [inner, outer] = self.groups(flat, &branches, all_rows);
        let ranks = [0, 1].map(|group| rank_of(&self.branches[group]));
        let mut pass = |rows: &Rows, groups: [BackwardGroup; 2]| {
            let count = rows.scales.len();
            let lengths = self.widths().map(|width| width * count);
            with_buffer(lengths.iter().sum(), |between| {
                let mut between = split(between, lengths);
                if is_deep {
                    // Empty where it is not needed.
                    let of_rows = rows.first * hidden..(rows.first + count) * hidden;
                    let dx = dx.get_mut(of_rows).unwrap_or_default();
                    let parts = between.each_mut().map(|part| &mut **part);
                    self.between(rows, norm, groups, parts, dx);
                } else {
                    self.activate(rows.gate_up, between[0]);
                }
                self.add_gradients(rows, &branches, &between, &mut gradients);
            });
        };
        let mut chunk = |groups: [BackwardGroup; 2], start: usize| {
            let count = FEED_FORWARD_ROWS.min(all_rows - start);
            let of = |width: usize| start * width..(start + count) * width;
            let narrow = [0, 1].map(|group| saved.narrow[group].rows(start, count, ranks[group]));
            let (x, dy) = (&x[of(hidden)], &dy[of(hidden)]);
            with_floats(narrow, |narrow| {
                outer.with_scaled(dy, |doutput| {
                    let rows = Rows {
                        first: start,
                        x,
                        dy,
                        doutput,
                        gate_up: saved.gate_up.rows(start, count, 2 * intermediate),
                        scales: &saved.scales[of(1)],
                        narrow,
                    };
                    pass(&rows, groups);
                });
            });
        };
        inner.with_backward(|inner| {
            outer.with_backward(|outer| {
                for start in (0..all_rows).step_by(FEED_FORWARD_ROWS) {
                    chunk([inner, outer], start);
                }
            });
        });
    }
}
