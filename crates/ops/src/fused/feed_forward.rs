//! x + down·swiglu(gate·n, up·n), n = norm(x), as one operation.

use candle_core::{Result, Tensor};

use super::buffer::{Shared, with_buffer};
use super::half_block::{Half, Parts, apply, flatten};
use super::pack::Matrix;
use super::product::{Store, for_each, product};
use super::residual::{add_in_place, norm_backward};
use super::rms_norm::normalise;
use super::swiglu;
use crate::{FeedForward, Precision};

/// Rows of a task.
const ROWS: usize = 32;

struct FusedFeedForward {
    /// norm (hidden), gate and up (2·intermediate, hidden), down (hidden, intermediate).
    parts: Parts<3>,
    hidden: usize,
    intermediate: usize,
    epsilon: f64,
    precision: Precision,
}

/// What the backward pass needs of the forward pass; the rest it computes again.
pub(super) struct Saved {
    /// The norm's factor of each row.
    scales: Vec<f32>,
    /// gate·n and up·n side by side: (rows, 2·intermediate).
    gate_up: Vec<f32>,
}

/// The feed-forward half of a block: (batch, sequence, hidden) → (batch, sequence, hidden).
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
    let (flat, parts) = flatten(x, groups)?;
    let operation = FusedFeedForward {
        parts,
        hidden: weights.norm.elem_count(),
        intermediate: weights.gate.dim(0)?,
        epsilon: weights.epsilon,
        precision,
    };
    apply(x, &flat, operation)
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

    /// The gradient of both sides from that of swiglu.
    fn activation_gradient(&self, gate_up: &[f32], dy: &[f32], gradient: &mut [f32]) {
        let width = self.intermediate;
        let rows = dy.len() / width;
        let gradient = Shared::new(gradient);
        for_each(rows.div_ceil(ROWS), 16 * gate_up.len(), |task| {
            for row in task * ROWS..rows.min((task + 1) * ROWS) {
                let sides = &gate_up[row * 2 * width..][..2 * width];
                // SAFETY: each row is written by one task.
                let gradient = unsafe { gradient.slice(row * 2 * width, 2 * width) };
                swiglu::row_gradient(sides, &dy[row * width..][..width], gradient);
            }
        });
    }
}

impl Half for FusedFeedForward {
    const NAME: &'static str = "feed-forward";
    type Saved = Saved;

    fn parts(&self) -> &Parts<3> {
        &self.parts
    }

    fn forward(&self, x: &[f32], flat: &[f32], y: &mut [f32]) -> Saved {
        let (hidden, intermediate) = (self.hidden, self.intermediate);
        let [norm, gate_up_weight, down] = self.parts.of(flat);
        let rows = x.len() / hidden;
        let mut scales = vec![0.0; rows];
        let gate_up = with_buffer(rows * hidden, |normed| {
            normalise([x, norm], self.epsilon, normed, &mut scales);
            let normed = Matrix::new(normed, rows, hidden);
            let weight = Matrix::new(gate_up_weight, 2 * intermediate, hidden);
            super::linear::new_product(normed, weight.transposed(), self.precision)
        });
        y.copy_from_slice(x);
        with_buffer(rows * intermediate, |active| {
            self.activate(&gate_up, active);
            let active = Matrix::new(active, rows, intermediate);
            let down = Matrix::new(down, hidden, intermediate).transposed();
            product(active, down, y, Store::Add, self.precision);
        });
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
        let [dnorm, dgate_up_weight, ddown] = self.parts.of_mut(dflat);
        let [norm_tracked, gate_up_tracked, down_tracked] = self.parts.tracked;
        let rows = x.len() / hidden;
        let gradient = Matrix::new(dy, rows, hidden);
        if down_tracked {
            with_buffer(rows * intermediate, |active| {
                self.activate(&saved.gate_up, active);
                let active = Matrix::new(active, rows, intermediate);
                product(
                    gradient.transposed(),
                    active,
                    ddown,
                    Store::Replace,
                    self.precision,
                );
            });
        }
        if !(norm_tracked || gate_up_tracked || self.parts.x_tracked) {
            return;
        }
        with_buffer(rows * 2 * intermediate, |sides| {
            with_buffer(rows * intermediate, |dactive| {
                let down = Matrix::new(down, hidden, intermediate);
                product(gradient, down, dactive, Store::Replace, self.precision);
                self.activation_gradient(&saved.gate_up, dactive, sides);
            });
            let sides = Matrix::new(sides, rows, 2 * intermediate);
            with_buffer(rows * hidden, |normed| {
                if gate_up_tracked {
                    let mut scales = vec![0.0; rows];
                    normalise([x, norm], self.epsilon, normed, &mut scales);
                    let normed = Matrix::new(normed, rows, hidden);
                    product(
                        sides.transposed(),
                        normed,
                        dgate_up_weight,
                        Store::Replace,
                        self.precision,
                    );
                }
                if norm_tracked || self.parts.x_tracked {
                    let weight = Matrix::new(gate_up_weight, 2 * intermediate, hidden);
                    product(sides, weight, normed, Store::Replace, self.precision);
                    let dnorm = norm_tracked.then_some(dnorm);
                    norm_backward([x, norm, normed], &saved.scales, dx, dnorm);
                    add_in_place(dy, dx);
                }
            });
        });
    }
}
