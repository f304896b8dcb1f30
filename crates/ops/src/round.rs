//! Rounding to bf16 of either the value or its gradient.

use candle_core::{CpuStorage, CustomOp1, DType, Layout, Result, Shape, Tensor, bail};

/// Custom operation that rounds to bf16, stored as f32, on the CPU: either in the forward or in the backward pass.
///
/// The *inputs* of a product must be rounded, and its results must stay f32, in both passes. A round trip with
/// Candle's `to_dtype` would instead round the gradient of an input, which is a result.
pub(crate) enum Round {
    /// Rounds the value; the gradient stays unchanged.
    Value,
    /// Rounds the gradient; the value stays unchanged.
    Gradient,
}

fn rounded(x: &Tensor) -> Result<Tensor> {
    x.to_dtype(DType::BF16)?.to_dtype(DType::F32)
}

impl CustomOp1 for Round {
    fn name(&self) -> &'static str {
        "round-to-bf16"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let values = storage.as_slice::<f32>()?;
        let Some((start, end)) = layout.contiguous_offsets() else {
            bail!("rounding takes contiguous tensors only")
        };
        let values = &values[start..end];
        let values = match self {
            Round::Value => values
                .iter()
                .map(|&x| half::bf16::from_f32(x).to_f32())
                .collect(),
            Round::Gradient => values.to_vec(),
        };
        Ok((CpuStorage::F32(values), layout.shape().clone()))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(match self {
            Round::Value => gradient.clone(),
            Round::Gradient => rounded(gradient)?,
        }))
    }
}
