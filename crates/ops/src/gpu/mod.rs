//! GPU operations: forward passes from Candle's kernels, backward passes by formula.
//!
//! In Candle's graph, attention and the loss take a dozen passes over their largest tensors in the forward pass and
//! twice as many in the backward pass. A third of those run over broadcast tensors, which its CUDA kernels read eight
//! times as slowly. These operations compute the same on any device, so that the CPU tests cover them.

mod attention;
mod cross_entropy;

#[cfg(test)]
mod tests;

pub(crate) use attention::attention;
pub(crate) use cross_entropy::cross_entropy;

use candle_core::{DType, Result, Tensor};

use crate::Precision;
use crate::round::Round;

/// Rounds an operand of a matrix product as `precision` says; the result is in no graph.
fn factor(x: &Tensor, precision: Precision) -> Result<Tensor> {
    match precision {
        Precision::F32 => Ok(x.clone()),
        Precision::Bf16 if x.device().is_cpu() => x.contiguous()?.apply_op1_no_bwd(&Round::Value),
        Precision::Bf16 => x.contiguous()?.to_dtype(DType::BF16),
    }
}

/// Computes a·b in the data type of `like`.
fn product(a: &Tensor, b: &Tensor, like: &Tensor) -> Result<Tensor> {
    a.matmul(b)?.to_dtype(like.dtype())
}
