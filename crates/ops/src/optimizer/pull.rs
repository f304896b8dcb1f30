//! Gradient of a quadratic penalty, added to a loss gradient.

use candle_core::{DType, Device, Result, Tensor, bail};

use crate::{Ops, fused};

/// Quadratic penalty of a parameter: ½·factor·Σ weight·(parameter − anchor)².
#[derive(Clone, Copy, Debug)]
pub struct Pull<'a> {
    /// Parameter to be kept near the anchor.
    pub parameter: &'a Tensor,
    /// Values that the parameter is pulled towards.
    pub anchor: &'a Tensor,
    /// Weight of each element; `None` means 1 for all.
    pub weight: Option<&'a Tensor>,
}

impl Ops {
    /// Returns gradient + factor·weight·(parameter − anchor), and Σ weight·(parameter − anchor)² as an f64 scalar.
    ///
    /// The gradient of a quadratic has a closed form: one pass over the parameter computes it, without a graph. On
    /// the CPU, the order of the sum does not depend on the number of threads.
    ///
    /// # Shapes
    /// The same for all tensors.
    ///
    /// # Errors
    /// Fails if the shapes differ.
    pub fn pull(&self, gradient: &Tensor, pull: &Pull, factor: f64) -> Result<(Tensor, Tensor)> {
        let others = [Some(pull.parameter), Some(pull.anchor), pull.weight];
        let mut tensors = vec![gradient];
        tensors.extend(others.into_iter().flatten());
        if let Some(other) = tensors.iter().find(|other| other.dims() != gradient.dims()) {
            bail!(
                "pull: the gradient is `{:?}` and another `{:?}`: they must be equal",
                gradient.dims(),
                other.dims()
            )
        }
        if self.fuses(&tensors) {
            let (moved, sum) = fused::pull(gradient, pull, factor)?;
            return Ok((moved, Tensor::new(sum, &Device::Cpu)?));
        }
        let away = (pull.parameter.detach() - pull.anchor)?;
        let pulled = match pull.weight {
            Some(weight) => (&away * weight)?,
            None => away.clone(),
        };
        let moved = (gradient + (&pulled * factor)?)?;
        Ok((moved, (pulled * away)?.sum_all()?.to_dtype(DType::F64)?))
    }
}
