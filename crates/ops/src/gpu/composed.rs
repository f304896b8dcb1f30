//! Factors and products of the operations without kernels: f64, devices other than CUDA, heads of odd dimensions.

use candle_core::{DType, Result, Tensor};

use crate::Precision;
use crate::round::Round;

/// Rounds an operand of a matrix product as `precision` says; the result is in no graph.
pub(super) fn factor(x: &Tensor, precision: Precision) -> Result<Tensor> {
    match precision {
        Precision::F32 | Precision::Tf32 => Ok(x.clone()),
        Precision::Bf16 if x.device().is_cpu() => x.contiguous()?.apply_op1_no_bwd(&Round::Value),
        Precision::Bf16 => x.contiguous()?.to_dtype(DType::BF16),
    }
}

/// Computes a·b in the data type of `like`; on a CUDA device bf16 factors give f32 without a rounding between.
pub(super) fn product(a: &Tensor, b: &Tensor, like: &Tensor) -> Result<Tensor> {
    if a.device().is_cuda() && a.dtype() == DType::BF16 && like.dtype() == DType::F32 {
        return Ok(super::product::product(a, b, Precision::Bf16)?.into_tensor());
    }
    a.matmul(b)?.to_dtype(like.dtype())
}
