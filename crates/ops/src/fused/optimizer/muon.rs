//! Muon update in f32. Newton–Schulz runs on the symmetric matrix G = X·Xᵀ of X's shorter dimension, whose products
//! need half of the work; one product with X follows.
//!
//! An iteration maps X to P·X with P = a + b·G + c·G², and so G to P·G·P. All P are polynomials of the first G, so
//! they are symmetric and commute; their product Q multiplies X at the end. A rounding error of 10⁻⁷ in G grows by a²
//! = 11.9 in each iteration, to 0.0002 before the last. f32 is precise enough for that; bf16 is not.

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

/// Number of elements that one parallel task processes.
const CHUNK: usize = 1 << 14;

/// Factors of one update, precomputed from the settings and the matrix's shape.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MuonFactors {
    pub gradient_scale: f32,
    pub momentum: f32,
    /// Factor that weight decay multiplies a parameter by: 1 − η·λ.
    pub kept: f32,
    /// Size of the step: η·0.2·√max(rows, columns).
    pub step_size: f32,
}

/// Updates the matrix `parameter` and its `momentum` in place.
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
            // SAFETY: chunks do not overlap, and both slices have `length` elements.
            let (new, direction) =
                unsafe { (new.slice(start, count), direction.slice(start, count)) };
            let (old, gradient) = (&old[start..][..count], &gradient[start..][..count]);
            remember(&factors, old, gradient, new, direction);
        });
    }
    // With a gradient of zeros, only the weight decay changes the parameter.
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

    /// Replaces `square`, one row of G², by the same row of a·I + b·G + c·G². `g` is that row of G, and the identity
    /// has its 1 at `diagonal`.
    fn quintic(square: &mut [f32], g: &[f32], diagonal: usize) {
        let [a, b, c] = QUINTIC.map(|x| x as f32);
        for (square, g) in square.iter_mut().zip(g) {
            *square = b * g + c * *square;
        }
        square[diagonal] += a;
        let _ = FMA;
    }
}

/// Elementwise last step: parameter·(1 − η·λ) − η·scale·orthogonal(direction), for a direction of norm 1.
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

/// Computes Q for X (rows × columns, with no more rows than columns) of norm 1, such that Q·X is approximately
/// orthogonal.
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
                // The eighth root of the sum of the singular values' eighth powers bounds every singular value.
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
