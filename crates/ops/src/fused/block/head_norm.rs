//! RMSNorm of each query and key head (Qwen3), inside the attention sublayer.

use crate::Precision;
use crate::fused::layers::rms_norm::{add_weight_row, backward_row, forward_row};
use crate::fused::simd::buffer::Shared;
use crate::fused::simd::kept::Kept;
use crate::fused::simd::parallel::for_each;
use crate::fused::simd::row_sums::sum_rows;

/// Positions of a task.
const POSITIONS: usize = 64;

/// Heads at the beginning of wider rows: queries, then keys.
#[derive(Clone, Copy)]
pub(super) struct NormedHeads {
    pub query_heads: usize,
    pub key_heads: usize,
    pub head_dim: usize,
    /// Stride between rows.
    pub row_width: usize,
    pub epsilon: f64,
    pub precision: Precision,
}

/// Values that the backward pass needs.
pub(super) struct SavedNorm {
    /// Queries and keys before the norm: (rows, (query_heads + key_heads)·d).
    before: Kept,
    /// The norm's factor of each head: (rows, query_heads + key_heads).
    scales: Vec<f32>,
}

impl NormedHeads {
    fn heads(&self) -> usize {
        self.query_heads + self.key_heads
    }

    fn width(&self) -> usize {
        self.heads() * self.head_dim
    }

    /// Returns the index of a head's weight: 0 for queries, 1 for keys.
    fn side(&self, head: usize) -> usize {
        usize::from(head >= self.query_heads)
    }

    /// Normalizes every head in place; `weights` are those of queries, then of keys: (2·d).
    pub fn normalize(&self, weights: &[f32], projected: &mut [f32]) -> SavedNorm {
        let (heads, width) = (self.heads(), self.width());
        let rows = projected.len() / self.row_width;
        let mut before = vec![0.0; rows * width];
        let mut scales = vec![0.0; rows * heads];
        let [memory, kept, factors] = [projected, &mut before, &mut scales].map(Shared::new);
        for_each(rows.div_ceil(POSITIONS), 8 * rows * width, |task| {
            for row in task * POSITIONS..rows.min((task + 1) * POSITIONS) {
                // SAFETY: each row is in one task.
                let (row_of, kept, factors) = unsafe {
                    (
                        memory.slice(row * self.row_width, width),
                        kept.slice(row * width, width),
                        factors.slice(row * heads, heads),
                    )
                };
                kept.copy_from_slice(row_of);
                let pairs = row_of
                    .chunks_exact_mut(self.head_dim)
                    .zip(kept.chunks_exact(self.head_dim));
                for (head, (y, x)) in pairs.enumerate() {
                    let weight = &weights[self.side(head) * self.head_dim..][..self.head_dim];
                    factors[head] = forward_row(x, weight, y, self.epsilon as f32);
                }
            }
        });
        SavedNorm {
            before: Kept::new(before, self.precision),
            scales,
        }
    }

    /// Turns the gradient of the normalized heads into that of the heads, in place, and writes that of the weights
    /// (2·d).
    pub fn gradient(
        &self,
        saved: &SavedNorm,
        weights: &[f32],
        gradient: &mut [f32],
        dweights: &mut [f32],
    ) {
        let (heads, width, head_dim) = (self.heads(), self.width(), self.head_dim);
        let rows = gradient.len() / self.row_width;
        let memory = Shared::new(gradient);
        dweights.fill(0.0);
        sum_rows(rows, 16 * rows * width, dweights, |rows, part| {
            let mut of_head = vec![0.0; head_dim];
            for row in rows {
                // SAFETY: each row is in one range.
                let row_of = unsafe { memory.slice(row * self.row_width, width) };
                let before = saved.before.all().part(row * width, width);
                before.with_floats(|before| {
                    let pairs = row_of
                        .chunks_exact_mut(head_dim)
                        .zip(before.chunks_exact(head_dim));
                    for (head, (gradient, x)) in pairs.enumerate() {
                        let scale = saved.scales[row * heads + head];
                        let side = self.side(head) * head_dim;
                        add_weight_row(x, gradient, scale, &mut part[side..][..head_dim]);
                        of_head.copy_from_slice(gradient);
                        backward_row(x, &weights[side..][..head_dim], &of_head, scale, gradient);
                    }
                });
            }
        });
    }
}
