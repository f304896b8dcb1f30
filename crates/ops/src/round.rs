//! Rounding to bf16 with a chosen direction: of the value or of the gradient.

use candle_core::{CpuStorage, CustomOp1, DType, Layout, Result, Shape, Tensor, bail};

/// Rounds values to bf16 in f32 storage on the CPU, forward or backward.
///
/// Candle's `to_dtype` there and back would round the gradient on the wrong side: the product's *inputs* are to be
/// rounded, and its results kept in f32, in both directions.
pub(crate) enum Round {
    /// Rounds the value; the gradient passes as it is.
    Value,
    /// Rounds the gradient; the value passes as it is.
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
