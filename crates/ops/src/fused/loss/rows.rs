//! Logits, losses and gradients of hidden states, a few rows at a time.

use super::distillation::DistilledPositions;
use crate::fused::gemm::driver::{PackedOperand, Store, gemm_in, with_packed};
use crate::fused::gemm::format::Format;
use crate::fused::simd::buffer::{Shared, with_buffer};
use crate::fused::simd::level::vectorized;
use crate::fused::simd::math::{LANES, exp, horizontal_max, horizontal_sum, scale};
use crate::fused::simd::matrix::Matrix;
use crate::fused::simd::parallel::{Threads, for_each};
use crate::targets::IGNORED;

/// Number of rows whose logits are in memory at a time. A constant, so that sums over tokens always have the same
/// order.
pub(crate) const LOGIT_ROWS: usize = 512;
/// Number of rows that one parallel task processes.
const TASK_ROWS: usize = 16;

vectorized! {
/// Returns the largest value of a row, skipping NaN.
    pub(super) fn largest(row: &[f32]) -> f32 {
        let mut lanes = [f32::NEG_INFINITY; LANES];
        let (chunks, rest) = row.as_chunks::<LANES>();
        for chunk in chunks {
            for lane in 0..LANES {
                lanes[lane] = if chunk[lane] > lanes[lane] { chunk[lane] } else { lanes[lane] };
            }
        }
        let _ = FMA;
        rest.iter().fold(horizontal_max(lanes), |a, &b| if b > a { b } else { a })
    }

    /// Replaces each x by e^(x − shift) and returns their sum.
    fn exponentials(row: &mut [f32], shift: f32) -> f32 {
        let mut sums = [0f32; LANES];
        let (chunks, rest) = row.as_chunks_mut::<LANES>();
        for chunk in chunks {
            for lane in 0..LANES {
                chunk[lane] = exp::<FMA>(chunk[lane] - shift);
                sums[lane] += chunk[lane];
            }
        }
        for (lane, x) in rest.iter_mut().enumerate() {
            *x = exp::<FMA>(*x - shift);
            sums[lane] += *x;
        }
        horizontal_sum(sums)
    }
}

/// Cross-entropy of one row, and the terms of its gradient.
pub(super) struct Scored {
    /// −ln p(target).
    pub nats: f32,
    /// Σ e^(logit − largest).
    sum: f32,
    /// ln Σ e^logit.
    log_sum: f32,
}

/// Computes the cross-entropy of a row of logits and overwrites them by e^(logit − largest).
pub(super) fn score_row(logits: &mut [f32], target: u32) -> Scored {
    let shift = largest(logits);
    let chosen = logits[target as usize];
    let sum = exponentials(logits, shift);
    // A NaN logit makes the sum NaN, and so the result.
    Scored {
        nats: sum.ln() - (chosen - shift),
        sum,
        log_sum: sum.ln() + shift,
    }
}

/// Calls `each(row, its logits)` for all rows, in parallel.
pub(super) fn for_each_row(
    logits: &mut [f32],
    vocabulary: usize,
    each: impl Fn(usize, &mut [f32]) + Sync + Send,
) {
    let rows = logits.len() / vocabulary;
    let work = 16 * logits.len();
    let logits = Shared::new(logits);
    for_each(rows.div_ceil(TASK_ROWS), work, |task| {
        for row in task * TASK_ROWS..rows.min((task + 1) * TASK_ROWS) {
            // SAFETY: each row belongs to one task.
            each(row, unsafe { logits.slice(row * vocabulary, vocabulary) });
        }
    });
}

/// Hidden states and the output projection; their product is the logits.
#[derive(Clone, Copy)]
pub(super) struct Projection<'a> {
    pub hidden: Matrix<'a>,
    pub weight: Matrix<'a>,
    pub format: Format,
}

impl Projection<'_> {
    /// Calls `chunk(index of the first row, hidden states, logits)` for a few rows at a time.
    pub fn for_each_chunk(&self, mut chunk: impl FnMut(usize, Matrix, &mut [f32])) {
        let (rows, width, vocabulary) = (self.hidden.rows, self.hidden.columns, self.weight.rows);
        with_packed(self.weight.transposed(), rows, self.format, |weight| {
            for start in (0..rows).step_by(LOGIT_ROWS) {
                let count = LOGIT_ROWS.min(rows - start);
                let hidden = self.hidden.block((start, count), (0, width));
                with_buffer(count * vocabulary, |logits| {
                    weight.multiply(hidden, logits, Store::Replace, Threads::All);
                    chunk(start, hidden, logits);
                });
            }
        });
    }

    /// Lets `turn(index of the first row, logits)` replace the logits of a few rows at a time by their gradients.
    /// Adds the resulting gradients of the hidden states (rows, width) and of the weight to the given buffers, which
    /// must be zeros.
    pub fn gradients(
        &self,
        [hidden_gradient, weight_gradient]: [Option<&mut [f32]>; 2],
        turn: impl FnMut(usize, &mut [f32]),
    ) {
        match hidden_gradient {
            Some(gradient) => with_packed(self.weight, self.hidden.rows, self.format, |weight| {
                self.gradients_in_chunks(Some((gradient, weight)), weight_gradient, turn);
            }),
            None => self.gradients_in_chunks(None, weight_gradient, turn),
        }
    }

    /// Computes [`gradients`](Self::gradients), with the weight packed for the gradient of the hidden states.
    fn gradients_in_chunks(
        &self,
        mut hidden_gradient: Option<(&mut [f32], &PackedOperand)>,
        mut weight_gradient: Option<&mut [f32]>,
        mut turn: impl FnMut(usize, &mut [f32]),
    ) {
        let (width, vocabulary) = (self.hidden.columns, self.weight.rows);
        self.for_each_chunk(|start, hidden, logits| {
            turn(start, logits);
            let gradient = Matrix::new(logits, hidden.rows, vocabulary);
            if let Some((sum, weight)) = &mut hidden_gradient {
                let part = &mut sum[start * width..][..hidden.rows * width];
                weight.multiply(gradient, part, Store::Replace, Threads::All);
            }
            if let Some(sum) = &mut weight_gradient {
                let store = if start == 0 {
                    Store::Replace
                } else {
                    Store::Add
                };
                gemm_in(self.format, gradient.transposed(), hidden, sum, store);
            }
        });
    }
}

/// Rows of a loss that have a target.
pub(super) struct Rows<'a> {
    pub projection: Projection<'a>,
    pub targets: &'a [u32],
    pub z_loss: f32,
}

/// Sums of the loss terms over all rows.
#[derive(Clone, Copy, Default)]
pub(super) struct Sums {
    /// Sum of −ln p(target) + z_loss·(ln Σ e^logit)².
    pub task: f64,
    /// Sum of the divergence from the teacher, over the distilled rows.
    pub divergence: f64,
}

impl Rows<'_> {
    /// Computes the losses, and the gradients of their sum into the buffers as in [`Projection::gradients`].
    pub fn losses(
        &self,
        distilled: Option<&DistilledPositions>,
        gradients: [Option<&mut [f32]>; 2],
    ) -> Sums {
        let tracked = gradients.iter().any(Option::is_some);
        let mut sums = Sums::default();
        self.projection.gradients(gradients, |start, logits| {
            let found = self.lose(distilled, start, logits, tracked);
            sums.task += found.task;
            sums.divergence += found.divergence;
        });
        sums
    }

    /// Computes the losses of the rows from `start` on. If `tracked`, overwrites their logits by the gradients.
    fn lose(
        &self,
        distilled: Option<&DistilledPositions>,
        start: usize,
        logits: &mut [f32],
        tracked: bool,
    ) -> Sums {
        let vocabulary = self.projection.weight.rows;
        let targets = &self.targets[start..][..logits.len() / vocabulary];
        let (mut nats, mut apart) = (vec![0.0; targets.len()], vec![0.0; targets.len()]);
        let cells = [Shared::new(&mut nats), Shared::new(&mut apart)];
        let row_of = |row: usize, logits: &mut [f32]| {
            let scored = score_row(logits, targets[row]);
            let log_sum = scored.log_sum;
            // SAFETY: each row belongs to one task.
            let cell = unsafe { cells[0].slice(row, 1) };
            cell[0] = scored.nats;
            if self.z_loss != 0.0 {
                cell[0] += self.z_loss * log_sum * log_sum;
            }
            if tracked {
                // The derivative of ln Σ e^logit by the logits is p itself.
                scale(logits, (1.0 + 2.0 * self.z_loss * log_sum) / scored.sum);
                logits[targets[row] as usize] -= 1.0;
            }
        };
        match distilled {
            None => for_each_row(logits, vocabulary, row_of),
            Some(distilled) => {
                distilled.with_teacher(start..start + targets.len(), vocabulary, |teacher| {
                    for_each_row(logits, vocabulary, |row, logits| {
                        let task = |logits: &mut [f32]| row_of(row, logits);
                        // SAFETY: each row belongs to one task.
                        unsafe {
                            cells[1].slice(row, 1)[0] = teacher.beside(start + row, logits, task);
                        }
                    });
                })
            }
        }
        let sum = |values: &[f32]| values.iter().copied().map(f64::from).sum();
        Sums {
            task: sum(&nats),
            divergence: sum(&apart),
        }
    }
}

/// Returns the hidden states and targets of the positions that have a target. The others are not even read.
pub(super) fn kept_rows(hidden: &[f32], width: usize, targets: &[u32]) -> (Vec<f32>, Vec<u32>) {
    let mut rows = Vec::new();
    let mut kept = Vec::new();
    for (row, &target) in targets.iter().enumerate() {
        if target != IGNORED {
            rows.extend_from_slice(&hidden[row * width..(row + 1) * width]);
            kept.push(target);
        }
    }
    (rows, kept)
}

/// Returns the gradients of all positions: those of [`kept_rows`] at their positions, and zeros elsewhere.
pub(super) fn spread_rows(kept: &[f32], width: usize, targets: &[u32]) -> Vec<f32> {
    let mut all = vec![0.0; targets.len() * width];
    let mut next = 0;
    for (row, &target) in targets.iter().enumerate() {
        if target != IGNORED {
            all[row * width..(row + 1) * width].copy_from_slice(&kept[next..next + width]);
            next += width;
        }
    }
    all
}
