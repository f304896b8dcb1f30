//! The pull of a quadratic penalty, added to a gradient.

use candle_core::{DType, Device, Result, Tensor, bail};

use crate::{Ops, fused};

/// What a parameter is pulled towards: ½·factor·Σ weight·(parameter − anchor)².
#[derive(Clone, Copy, Debug)]
pub struct Pull<'a> {
    /// Where the parameter is.
    pub parameter: &'a Tensor,
    /// Where it is pulled to.
    pub anchor: &'a Tensor,
    /// How firmly each element is held; `None`: all alike, 1.
    pub weight: Option<&'a Tensor>,
}

impl Ops {
    /// gradient + factor·weight·(parameter − anchor), and Σ weight·(parameter − anchor)² as a scalar of f64.
    ///
    /// The gradient of a quadratic is known, so it takes one pass over the parameter and no graph. On the CPU the
    /// order of the sum does not depend on the number of threads.
    ///
    /// # Shapes
    /// All alike.
    ///
    /// # Errors
    /// Shapes that differ.
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
        let held = match pull.weight {
            Some(weight) => (&away * weight)?,
            None => away.clone(),
        };
        let moved = (gradient + (&held * factor)?)?;
        Ok((moved, (held * away)?.sum_all()?.to_dtype(DType::F64)?))
    }
}
