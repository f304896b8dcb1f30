//! Rotary position embedding.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};

use crate::RotaryTable;
use crate::fused::simd::buffer::{Shared, filled};
use crate::fused::simd::level::vectorized;
use crate::fused::simd::parallel::for_each;
use crate::fused::simd::storage::{Floats, contiguous, tensor};

/// Number of positions that one parallel task processes.
const POSITIONS: usize = 64;

struct Rope {
    table: RotaryTable,
    positions: Arc<[u32]>,
}

/// Rotates the pairs (x[i], x[i + d/2]) of each head by the angles of its position: (batch, sequence, heads, d).
pub(crate) fn rope(x: &Tensor, table: &RotaryTable, positions: &Arc<[u32]>) -> Result<Tensor> {
    let (table, positions) = (table.clone(), Arc::clone(positions));
    x.contiguous()?.apply_op1(Rope { table, positions })
}

vectorized! {
/// Rotates all heads of one position by its angles. `direction` is 1, or −1 in the backward pass.
    fn rotate(x: &[f32], angles: (&[f32], &[f32]), direction: f32, y: &mut [f32]) {
        let (cos, sin) = angles;
        let half = cos.len();
        for (x, y) in x.chunks_exact(2 * half).zip(y.chunks_exact_mut(2 * half)) {
            let (first, second) = x.split_at(half);
            let (first_out, second_out) = y.split_at_mut(half);
            let angles = cos.iter().zip(sin);
            let pairs = first.iter().zip(second).zip(first_out.iter_mut().zip(second_out));
            for (((a, b), (first, second)), (cos, sin)) in pairs.zip(angles) {
                let sin = sin * direction;
                *first = a * cos - b * sin;
                *second = b * cos + a * sin;
            }
        }
        let _ = FMA;
    }

/// Rotates all heads of one position in place. `direction` is 1, or −1 in the backward pass.
    pub(in crate::fused) fn rotate_in_place(x: &mut [f32], angles: (&[f32], &[f32]), direction: f32) {
        let (cos, sin) = angles;
        let half = cos.len();
        for x in x.chunks_exact_mut(2 * half) {
            let (first, second) = x.split_at_mut(half);
            for ((first, second), (cos, sin)) in first.iter_mut().zip(second).zip(cos.iter().zip(sin)) {
                let sin = sin * direction;
                let (a, b) = (*first, *second);
                *first = a * cos - b * sin;
                *second = b * cos + a * sin;
            }
        }
        let _ = FMA;
    }
}

impl Rope {
    fn rotate(&self, x: &[f32], direction: f32) -> Vec<f32> {
        let positions = self.positions.len();
        let width = x.len().checked_div(positions).unwrap_or(0);
        let fill = |y: Shared| {
            for_each(positions.div_ceil(POSITIONS), 8 * x.len(), |task| {
                for row in task * POSITIONS..positions.min((task + 1) * POSITIONS) {
                    // SAFETY: each position is written by one task.
                    let y = unsafe { y.zeroed(row * width, width) };
                    let angles = self.table.at(self.positions[row]);
                    rotate(&x[row * width..(row + 1) * width], angles, direction, y);
                }
            });
        };
        // SAFETY: the tasks write all positions.
        unsafe { filled(x.len(), fill) }
    }
}

impl CustomOp1 for Rope {
    fn name(&self) -> &'static str {
        "rope"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let y = self.rotate(contiguous(x, layout)?, 1.0);
        Ok((CpuStorage::F32(y), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        if gradient.elem_count() != x.elem_count() {
            bail!(
                "rope: the gradient is `{:?}`: expected `{:?}`",
                gradient.dims(),
                x.dims()
            )
        }
        let gradient = gradient.contiguous()?;
        let turned_back = self.rotate(&Floats::of(&gradient)?, -1.0);
        tensor(turned_back, x.shape()).map(Some)
    }
}
