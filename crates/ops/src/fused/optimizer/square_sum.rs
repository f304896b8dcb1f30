//! Sums of squares.

use candle_core::{Result, Tensor};

use crate::fused::simd::level::vectorized;
use crate::fused::simd::parallel::for_each;
use crate::fused::simd::storage::Floats;

/// Elements in a partial sum: a constant, so that the sum always has the same order.
const CHUNK: usize = 1 << 14;

vectorized! {
    /// Computes Σx² in f64: the squared gradients of a large model span more magnitudes than an f32 sum can hold.
    fn squares(values: &[f32]) -> f64 {
        let mut sums = [0f64; 16];
        let (chunks, rest) = values.as_chunks::<16>();
        for chunk in chunks {
            for lane in 0..16 {
                let x = f64::from(chunk[lane]);
                sums[lane] += x * x;
            }
        }
        let rest: f64 = rest.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
        let _ = FMA;
        sums.iter().sum::<f64>() + rest
    }
}

/// Returns Σx² over all elements.
pub(crate) fn square_sum(x: &Tensor) -> Result<f64> {
    Ok(square_sum_of(&Floats::of(&x.contiguous()?)?))
}

/// Returns Σx² of a slice.
pub(crate) fn square_sum_of(values: &[f32]) -> f64 {
    let tasks = values.len().div_ceil(CHUNK);
    let parts: Vec<std::sync::OnceLock<f64>> = vec![std::sync::OnceLock::new(); tasks];
    for_each(tasks, 4 * values.len(), |task| {
        let end = values.len().min((task + 1) * CHUNK);
        let _ = parts[task].set(squares(&values[task * CHUNK..end]));
    });
    parts.iter().filter_map(|part| part.get()).sum()
}
