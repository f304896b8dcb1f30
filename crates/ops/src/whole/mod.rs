//! Operations as a GPU runs them: forward out of Candle's kernels, and back by formula.
//!
//! Left to Candle's graph, attention and the loss are a dozen passes over their largest tensors on the way forward and twice as many
//! back, a third of them over tensors that are stretched by broadcasting, which its CUDA kernels take eight times as long for.
//! Whatever device they are given, these do the same, so that the CPU's tests hold for them.

mod attention;
mod cross_entropy;

#[cfg(test)]
mod tests;

pub(crate) use attention::attention;
pub(crate) use cross_entropy::cross_entropy;

use candle_core::{DType, Result, Tensor};

use crate::Precision;
use crate::round::Round;

/// A factor of a matrix product, rounded as `precision` says; in no graph.
fn factor(x: &Tensor, precision: Precision) -> Result<Tensor> {
    match precision {
        Precision::F32 => Ok(x.clone()),
        Precision::Bf16 if x.device().is_cpu() => x.contiguous()?.apply_op1_no_bwd(&Round::Value),
        Precision::Bf16 => x.contiguous()?.to_dtype(DType::BF16),
    }
}

/// a·b of factors, as numbers like `like`.
fn product(a: &Tensor, b: &Tensor, like: &Tensor) -> Result<Tensor> {
    a.matmul(b)?.to_dtype(like.dtype())
}
