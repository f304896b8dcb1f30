//! x + down·swiglu(gate·n, up·n), n = norm(x), as one operation.

use candle_core::{Result, Tensor};

use super::residual::norm_residual_backward;
use super::row_blocks::for_each_row_block;
use super::sublayer::{Sublayer, apply};
use super::weights::{Parts, Weights};
use crate::fused::gemm::driver::{PackedOperand, Store, gemm_in, with_packed};
use crate::fused::gemm::format::Format;
use crate::fused::layers::rms_norm::{normalize, normalize_again, weight_gradient};
use crate::fused::layers::swiglu;
use crate::fused::simd::buffer::{Shared, filled, split, with_buffer};
use crate::fused::simd::matrix::Matrix;
use crate::fused::simd::parallel::{Threads, for_each};
use crate::{FeedForward, Precision};

/// Rows of a task of the activation alone.
const ROWS: usize = 32;
/// Rows from which the weights' gradients are summed at a time, so that these rows are still in the third cache. The
/// sums have this order for any number of threads.
const CHUNK: usize = 2048;

struct FusedFeedForward {
    /// norm (hidden), gate and up (2·intermediate, hidden), down (hidden, intermediate).
    parts: Parts,
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
    gate_up: Vec<f32>,
}

/// Applies the feed-forward sublayer: (batch, sequence, hidden) → (batch, sequence, hidden).
pub(crate) fn feed_forward(
    x: &Tensor,
    weights: &FeedForward,
    precision: Precision,
) -> Result<Tensor> {
    let groups: [&[&Tensor]; 3] = [
        &[weights.norm],
        &[weights.gate, weights.up],
        &[weights.down],
    ];
    let taken = Weights::new(x, groups)?;
    let operation = FusedFeedForward {
        parts: taken.parts.clone(),
        hidden: weights.norm.elem_count(),
        intermediate: weights.gate.dim(0)?,
        epsilon: weights.epsilon,
        precision,
    };
    apply(x, taken, operation)
}

impl FusedFeedForward {
    /// swiglu of each row's two sides.
    fn activate(&self, gate_up: &[f32], y: &mut [f32]) {
        let width = self.intermediate;
        let rows = y.len() / width;
        let y = Shared::new(y);
        for_each(rows.div_ceil(ROWS), 16 * gate_up.len(), |task| {
            for row in task * ROWS..rows.min((task + 1) * ROWS) {
                let (gate, up) = gate_up[row * 2 * width..][..2 * width].split_at(width);
                // SAFETY: each row is written by one task.
                swiglu::forward(gate, up, unsafe { y.slice(row * width, width) });
            }
        });
    }

    /// swiglu of each row's two sides, and the gradient of both sides from that of swiglu.
    fn activation_gradient(&self, gate_up: &[f32], dy: &[f32], [y, gradient]: [&mut [f32]; 2]) {
        let width = self.intermediate;
        let rows = dy.len() / width;
        let [y, gradient] = [y, gradient].map(Shared::new);
        for_each(rows.div_ceil(ROWS), 16 * gate_up.len(), |task| {
            for row in task * ROWS..rows.min((task + 1) * ROWS) {
                let sides = &gate_up[row * 2 * width..][..2 * width];
                // SAFETY: each row is written by one task.
                let (y, gradient) = unsafe {
                    (
                        y.slice(row * width, width),
                        gradient.slice(row * 2 * width, 2 * width),
                    )
                };
                swiglu::row_gradient(sides, &dy[row * width..][..width], y, gradient);
            }
        });
    }

    /// y = x + f(x) for some rows; `gate_up` and `scales` are what is saved of them. Both y and `gate_up` may hold
    /// nothing yet.
    ///
    /// # Safety
    /// No other task uses these rows of the results.
    unsafe fn forward_rows(
        &self,
        [x, norm]: [&[f32]; 2],
        [gate_up_weight, down]: [&PackedOperand; 2],
        [y, gate_up, scales]: [Shared; 3],
        threads: Threads,
    ) {
        let rows = scales.len();
        // SAFETY: promised by the caller.
        let scales = unsafe { scales.slice(0, rows) };
        with_buffer(rows * self.hidden, |normed| {
            normalize([x, norm], self.epsilon, Shared::new(normed), scales);
            let normed = Matrix::new(normed, rows, self.hidden);
            gate_up_weight.multiply_into(normed, gate_up, Store::Replace, threads);
        });
        // SAFETY: promised by the caller.
        unsafe { y.write(0, x) };
        with_buffer(rows * self.intermediate, |active| {
            // SAFETY: the first product has replaced every element.
            let gate_up = unsafe { gate_up.slice(0, gate_up.len()) };
            self.activate(gate_up, active);
            let active = Matrix::new(active, rows, self.intermediate);
            down.multiply_into(active, y, Store::Add, threads);
        });
    }

    /// Computes the operands of the weights' gradients, and the gradient of x, for a chunk of rows.
    fn between(
        &self,
        rows: &Rows,
        norm: &[f32],
        [gate_up_weight, down]: [&PackedOperand; 2],
        between: [&mut [f32]; 5],
    ) {
        let (hidden, intermediate) = (self.hidden, self.intermediate);
        let [_, gate_up_tracked, _] = self.parts.tracked;
        let between = between.map(Shared::new);
        for_each_row_block(rows.scales.len(), |start, count, threads| {
            let of = |width: usize| start * width..(start + count) * width;
            // SAFETY: each row is in one row block.
            let part =
                |side: usize, width| unsafe { between[side].slice(start * width, count * width) };
            let [active, sides] = [part(0, intermediate), part(1, 2 * intermediate)];
            let [normed, dnormed] = [part(2, hidden), part(3, hidden)];
            let (x, scales) = (&rows.x[of(hidden)], &rows.scales[of(1)]);
            let dy = &rows.dy[of(hidden)];
            with_buffer(count * intermediate, |dactive| {
                let dy = Matrix::new(dy, count, hidden);
                down.multiply(dy, dactive, Store::Replace, threads);
                let gate_up = &rows.gate_up[of(2 * intermediate)];
                self.activation_gradient(gate_up, dactive, [active, sides]);
            });
            if gate_up_tracked {
                normalize_again([x, norm], scales, normed);
            }
            if self.parts.x_gradient_is_needed() {
                let sides = Matrix::new(sides, count, 2 * intermediate);
                gate_up_weight.multiply(sides, dnormed, Store::Replace, threads);
                norm_residual_backward([x, norm], [&*dnormed, dy], scales, part(4, hidden));
            }
        });
    }
}

/// Rows of what the backward pass starts from.
struct Rows<'a> {
    x: &'a [f32],
    dy: &'a [f32],
    gate_up: &'a [f32],
    scales: &'a [f32],
}

impl Sublayer for FusedFeedForward {
    const NAME: &'static str = "feed-forward";
    type Saved = Saved;

    fn parts(&self) -> &Parts {
        &self.parts
    }

    fn forward(&self, x: &[f32], flat: &[f32], y: Shared) -> Saved {
        let (hidden, intermediate) = (self.hidden, self.intermediate);
        let [norm, gate_up_weight, down] = self.parts.of(flat);
        let gate_up_weight = Matrix::new(gate_up_weight, 2 * intermediate, hidden).transposed();
        let down = Matrix::new(down, hidden, intermediate).transposed();
        let format = Format::of(self.precision);
        let rows = x.len() / hidden;
        let mut scales = vec![0.0; rows];
        let fill = |gate_up: Shared| {
            let scales = Shared::new(&mut scales);
            with_packed(gate_up_weight, rows, format, |gate_up_weight| {
                with_packed(down, rows, format, |down| {
                    for_each_row_block(rows, |start, count, threads| {
                        let x = &x[start * hidden..][..count * hidden];
                        let results = [
                            y.part(start * hidden, count * hidden),
                            gate_up.part(start * 2 * intermediate, count * 2 * intermediate),
                            scales.part(start, count),
                        ];
                        // SAFETY: each row is in one row block.
                        unsafe {
                            self.forward_rows([x, norm], [gate_up_weight, down], results, threads);
                        }
                    });
                });
            });
        };
        // SAFETY: the first product replaces every element.
        let gate_up = unsafe { filled(rows * 2 * intermediate, fill) };
        Saved { scales, gate_up }
    }

    fn backward(
        &self,
        saved: &Saved,
        [x, flat, dy]: [&[f32]; 3],
        dx: &mut [f32],
        dflat: &mut [f32],
    ) {
        let (hidden, intermediate) = (self.hidden, self.intermediate);
        let [norm, gate_up_weight, down] = self.parts.of(flat);
        let gate_up_weight = Matrix::new(gate_up_weight, 2 * intermediate, hidden);
        let down = Matrix::new(down, hidden, intermediate);
        let [dnorm, dgate_up_weight, ddown] = self.parts.of_mut(dflat);
        let [norm_tracked, gate_up_tracked, down_tracked] = self.parts.tracked;
        let dx_wanted = self.parts.x_gradient_is_needed();
        let format = Format::of(self.precision);
        let all_rows = saved.scales.len();
        let mut chunk = |weights: [&PackedOperand; 2], start: usize, count: usize| {
            let of = |width: usize| start * width..(start + count) * width;
            let rows = Rows {
                x: &x[of(hidden)],
                dy: &dy[of(hidden)],
                gate_up: &saved.gate_up[of(2 * intermediate)],
                scales: &saved.scales[of(1)],
            };
            let lengths =
                [intermediate, 2 * intermediate, hidden, hidden].map(|width| width * count);
            with_buffer(lengths.iter().sum(), |between| {
                let [active, sides, normed, dnormed] = split(between, lengths);
                if gate_up_tracked || dx_wanted {
                    // Empty where it is not needed.
                    let dx = dx.get_mut(of(hidden)).unwrap_or_default();
                    let parts = [&mut *active, &mut *sides, &mut *normed, &mut *dnormed, dx];
                    self.between(&rows, norm, weights, parts);
                } else {
                    self.activate(rows.gate_up, active);
                }
                if down_tracked {
                    let dy = Matrix::new(rows.dy, count, hidden).transposed();
                    let active = Matrix::new(active, count, intermediate);
                    gemm_in(format, dy, active, ddown, Store::Add);
                }
                if gate_up_tracked {
                    let sides = Matrix::new(sides, count, 2 * intermediate).transposed();
                    let normed = Matrix::new(normed, count, hidden);
                    gemm_in(format, sides, normed, dgate_up_weight, Store::Add);
                }
                if norm_tracked {
                    weight_gradient([rows.x, dnormed], rows.scales, dnorm);
                }
            });
        };
        with_packed(gate_up_weight, all_rows, format, |gate_up_weight| {
            with_packed(down, all_rows, format, |down| {
                for start in (0..all_rows).step_by(CHUNK) {
                    chunk([gate_up_weight, down], start, CHUNK.min(all_rows - start));
                }
            });
        });
    }
}
