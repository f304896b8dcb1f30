//! Muon update in f32: Newton–Schulz on G = X·Xᵀ of the shorter side, whose products are symmetric and need half of the
//! work, and one product with X at the end.
//!
//! An iteration takes X to P·X, P = a + b·G + c·G², and so G to P·G·P. All of these are polynomials of the first G:
//! they are symmetric and commute, and their product Q is what X is multiplied with. Rounding in G of 10⁻⁷ grows by a²
//! = 11.9 in an iteration, to 0.0002 before the last, which f32 bears and bf16 would not.

use candle_core::{CpuStorage, InplaceOp2, Layout, Result, Tensor, Var};

use super::square_sum::square_sum_of;
use crate::Precision;
use crate::fused::gemm::driver::{Store, gemm, symmetric_gemm};
use crate::fused::simd::buffer::{Shared, split, with_buffer};
use crate::fused::simd::level::vectorized;
use crate::fused::simd::math::scale;
use crate::fused::simd::matrix::Matrix;
use crate::fused::simd::parallel::for_each;
use crate::fused::simd::storage::{Floats, contiguous, contiguous_mut, tensor};
use crate::optimizer::newton_schulz::{ITERATIONS, QUINTIC};

/// Elements of a task.
const CHUNK: usize = 1 << 14;

/// The numbers of one update, each as it enters the formula.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MuonFactors {
    pub gradient_scale: f32,
    pub momentum: f32,
    /// 1 − η·λ.
    pub kept: f32,
    /// η·0.2·√max(rows, columns).
    pub step_size: f32,
}

/// Updates `parameter`, a matrix, and `momentum`.
pub(crate) fn muon(
    parameter: &Var,
    gradient: &Tensor,
    momentum: &mut Tensor,
    factors: MuonFactors,
) -> Result<()> {
    let gradient = gradient.contiguous()?;
    let old = momentum.contiguous()?;
    let (gradient, old) = (Floats::of(&gradient)?, Floats::of(&old)?);
    let length = old.len();
    let (mut new, mut direction) = (vec![0.0; length], vec![0.0; length]);
    {
        let (new, direction) = (Shared::new(&mut new), Shared::new(&mut direction));
        for_each(length.div_ceil(CHUNK), 4 * length, |task| {
            let start = task * CHUNK;
            let count = CHUNK.min(length - start);
            // SAFETY: chunks do not overlap, and both are `length` long.
            let (new, direction) =
                unsafe { (new.slice(start, count), direction.slice(start, count)) };
            let (old, gradient) = (&old[start..][..count], &gradient[start..][..count]);
            remember(&factors, old, gradient, new, direction);
        });
    }
    // A gradient of zeros moves nothing.
    let norm = square_sum_of(&direction).sqrt() as f32;
    scale(&mut direction, 1.0 / (norm + 1e-20));
    let direction = tensor(direction, parameter.shape())?;
    *momentum = tensor(new, parameter.shape())?;
    parameter.inplace_op2(&direction, &Update { factors })
}

vectorized! {
    fn remember(
        factors: &MuonFactors,
        old: &[f32],
        gradient: &[f32],
        new: &mut [f32],
        direction: &mut [f32],
    ) {
        let (mu, scale) = (factors.momentum, (1.0 - factors.momentum) * factors.gradient_scale);
        for ((m, g), (new, u)) in old.iter().zip(gradient).zip(new.iter_mut().zip(direction)) {
            let g = scale * g;
            *new = mu * m + g;
            *u = mu * *new + g;
        }
        let _ = FMA;
    }

    /// a + b·g + c·square, for the identity's row with its 1 at `diagonal`.
    fn quintic(square: &mut [f32], g: &[f32], diagonal: usize) {
        let [a, b, c] = QUINTIC.map(|x| x as f32);
        for (square, g) in square.iter_mut().zip(g) {
            *square = b * g + c * *square;
        }
        square[diagonal] += a;
        let _ = FMA;
    }
}

/// parameter·(1 − η·λ) − η·scale·orthogonal(direction), the direction's norm being 1.
struct Update {
    factors: MuonFactors,
}

impl InplaceOp2 for Update {
    fn name(&self) -> &'static str {
        "muon"
    }

    fn cpu_fwd(
        &self,
        parameter: &mut CpuStorage,
        parameter_layout: &Layout,
        direction: &CpuStorage,
        direction_layout: &Layout,
    ) -> Result<()> {
        let direction = contiguous(direction, direction_layout)?;
        let (rows, columns) = parameter_layout.shape().dims2()?;
        let parameter = contiguous_mut(parameter, parameter_layout)?;
        if parameter.is_empty() {
            return Ok(());
        }
        scale(parameter, self.factors.kept);
        let x = Matrix::new(direction, rows, columns);
        let tall = rows > columns;
        let size = rows.min(columns);
        with_buffer(size * size, |q| {
            newton_schulz(if tall { x.transposed() } else { x }, q);
            scale(q, -self.factors.step_size);
            let q = Matrix::new(q, size, size);
            let (a, b) = if tall { (x, q) } else { (q, x) };
            gemm(a, b, parameter, Store::Add, Precision::F32);
        });
        Ok(())
    }
}

/// Q of X (rows × columns, no more rows than columns) of norm 1: Q·X is about orthogonal.
fn newton_schulz(x: Matrix, q: &mut [f32]) {
    let size = x.rows;
    let square = |a: &[f32], b: &[f32], c: &mut [f32]| {
        symmetric_gemm(Matrix::new(a, size, size), Matrix::new(b, size, size), c);
    };
    let mut factor = 1.0;
    with_buffer(3 * size * size, |buffer| {
        let [mut g, p, mut other] = split(buffer, [size * size; 3]);
        symmetric_gemm(x, x.transposed(), g);
        for iteration in 0..ITERATIONS {
            square(g, g, p);
            if iteration == 0 {
                // The eighth root of the sum of all eighth powers bounds every singular value.
                let fourth = square_sum_of(p).sqrt() as f32 + 1e-20;
                scale(p, 1.0 / fourth);
                scale(g, 1.0 / fourth.sqrt());
                factor = 1.0 / fourth.sqrt().sqrt();
            }
            for (row, (p, g)) in p.chunks_mut(size).zip(g.chunks(size)).enumerate() {
                quintic(p, g, row);
            }
            if iteration == 0 {
                q.copy_from_slice(p);
            } else {
                square(p, q, other);
                q.copy_from_slice(other);
            }
            if iteration + 1 < ITERATIONS {
                square(p, g, other);
                std::mem::swap(&mut g, &mut other);
                square(g, p, other);
                std::mem::swap(&mut g, &mut other);
            }
        }
    });
    scale(q, factor);
}
