//! Gradients of a loss that the forward pass already computed.

use candle_core::{Result, Tensor};

use crate::fused::simd::buffer::{Shared, filled};
use crate::fused::simd::math::scaled;
use crate::fused::simd::parallel::for_each;
use crate::fused::simd::storage::{Floats, tensor};

/// Gradients of the hidden states and of the output projection; `None` if not needed.
pub(super) struct Gradients {
    pub hidden: Option<Tensor>,
    pub weight: Option<Tensor>,
}

impl Gradients {
    /// Makes tensors (rows, `width`) of the gradients given as `(values, rows)`.
    pub fn new(
        hidden: (Option<Vec<f32>>, usize),
        weight: (Option<Vec<f32>>, usize),
        width: usize,
    ) -> Result<Self> {
        let rows = |gradient: Option<Vec<f32>>, count: usize| {
            let gradient = gradient.map(|gradient| tensor(gradient, (count, width)));
            gradient.transpose()
        };
        Ok(Self {
            hidden: rows(hidden.0, hidden.1)?,
            weight: rows(weight.0, weight.1)?,
        })
    }

    /// Multiplies the gradients by the incoming gradient, a scalar.
    pub fn times(&self, gradient: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let factor = gradient.to_vec0::<f32>()?;
        let times = |gradient: &Option<Tensor>| {
            gradient
                .as_ref()
                .map(|gradient| times(gradient, factor))
                .transpose()
        };
        Ok((times(&self.hidden)?, times(&self.weight)?))
    }
}

/// Returns factor·x, or x itself for a factor of 1.
fn times(x: &Tensor, factor: f32) -> Result<Tensor> {
    const CHUNK: usize = 1 << 14;
    if factor == 1.0 {
        return Ok(x.clone());
    }
    let values = Floats::of(x)?;
    let fill = |y: Shared| {
        for_each(values.len().div_ceil(CHUNK), 8 * values.len(), |task| {
            let start = task * CHUNK;
            let count = CHUNK.min(values.len() - start);
            // SAFETY: chunks do not overlap.
            let y = unsafe { y.zeroed(start, count) };
            scaled(&values[start..start + count], factor, y);
        });
    };
    // SAFETY: the tasks write all chunks.
    tensor(unsafe { filled(values.len(), fill) }, x.shape())
}
