//! AdamW update.

use candle_core::{Result, Tensor, Var, bail};

use crate::fused::{self, UpdateFactors};
use crate::gpu::{self, AdamwTensors};
use crate::optimizer::moments::Storage;
use crate::{Moments, Ops};

/// AdamW with decoupled weight decay:
///
/// ```text
/// m ← β₁·m + (1 − β₁)·g        v ← β₂·v + (1 − β₂)·g²
/// p ← p − η·λ·p − η·(m / (1 − β₁ᵗ)) / (√(v / (1 − β₂ᵗ)) + ε)
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    /// Learning rate η.
    pub learning_rate: f64,
    /// β₁, decay rate of the running mean of the gradient.
    pub beta1: f64,
    /// β₂, decay rate of the running mean of the squared gradient.
    pub beta2: f64,
    /// ε, added to the denominator to keep it above 0.
    pub epsilon: f64,
    /// Weight decay λ, decoupled from the gradient.
    pub weight_decay: f64,
}

/// Step number and gradient scale of one update.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct UpdateAt {
    /// Number of the update, starting at 1. It corrects the bias of the moments towards 0.
    pub step: u64,
    /// Factor of the gradient: gradient clipping times the mean over tokens.
    pub gradient_scale: f64,
}

/// Parameter to update, with its gradient and moments.
pub struct AdamWUpdate<'a> {
    /// p.
    pub parameter: &'a Var,
    /// g, before it is scaled.
    pub gradient: &'a Tensor,
    /// m and v.
    pub moments: &'a mut Moments,
    /// λ of this parameter, in the place of [`AdamW::weight_decay`].
    pub weight_decay: f64,
}

impl AdamW {
    /// Updates many parameters in place; on a GPU in a single launch.
    ///
    /// # Errors
    /// Fails if a gradient has another shape than its parameter.
    pub fn step_all(&self, ops: Ops, at: UpdateAt, updates: Vec<AdamWUpdate>) -> Result<()> {
        let mut tensors = Vec::new();
        let mut device = None;
        for update in updates {
            let of_parameter = AdamW {
                weight_decay: update.weight_decay,
                ..*self
            };
            let (parameter, gradient, moments) =
                (update.parameter, update.gradient, update.moments);
            if !ops.runs_kernels(&[parameter, gradient]) {
                of_parameter.step(ops, parameter, gradient, moments, at)?;
                continue;
            }
            check_shapes(parameter, gradient)?;
            let [first, second] = moments.on_device()?;
            tensors.push(AdamwTensors {
                parameter: parameter.as_detached_tensor(),
                gradient: gradient.detach().contiguous()?,
                first,
                second,
                kept: of_parameter.factors(at).kept,
            });
            device = Some(parameter.device().clone());
        }
        match device {
            Some(device) => gpu::adamw(&device, &tensors, &self.factors(at)),
            None => Ok(()),
        }
    }

    /// Updates `parameter` and `moments` in place.
    ///
    /// # Errors
    /// Fails if the shapes of gradient and parameter differ.
    pub fn step(
        &self,
        ops: Ops,
        parameter: &Var,
        gradient: &Tensor,
        moments: &mut Moments,
        at: UpdateAt,
    ) -> Result<()> {
        check_shapes(parameter, gradient)?;
        if ops.runs_kernels(&[parameter, gradient]) {
            let update = AdamWUpdate {
                parameter,
                gradient,
                moments,
                weight_decay: self.weight_decay,
            };
            return self.step_all(ops, at, vec![update]);
        }
        if !ops.fuses(&[parameter, gradient]) {
            return self.reference(parameter, gradient, moments, at);
        }
        fused::adamw(parameter, gradient, moments.host()?, self.factors(at))
    }

    fn reference(
        &self,
        parameter: &Var,
        gradient: &Tensor,
        moments: &mut Moments,
        at: UpdateAt,
    ) -> Result<()> {
        let (first, second) = moments.to_tensors()?;
        let gradient = (gradient.detach() * at.gradient_scale)?;
        let first = ((first * self.beta1)? + (&gradient * (1.0 - self.beta1))?)?;
        let second = ((second * self.beta2)? + (gradient.sqr()? * (1.0 - self.beta2))?)?;
        let (first_share, second_share) = self.bias_corrections(at.step);
        let mean = (&first / first_share)?;
        let spread = ((&second / second_share)?.sqrt()? + self.epsilon)?;
        let kept =
            (parameter.as_detached_tensor() * (1.0 - self.learning_rate * self.weight_decay))?;
        let moved = (kept - ((mean / spread)? * self.learning_rate)?)?;
        moments.0 = Storage::Device { first, second };
        parameter.set(&moved)
    }

    fn factors(&self, at: UpdateAt) -> UpdateFactors {
        let (first_share, second_share) = self.bias_corrections(at.step);
        UpdateFactors {
            gradient_scale: at.gradient_scale as f32,
            beta1: self.beta1 as f32,
            beta2: self.beta2 as f32,
            kept: (1.0 - self.learning_rate * self.weight_decay) as f32,
            step_size: (self.learning_rate / first_share) as f32,
            spread: (1.0 / second_share.sqrt()) as f32,
            epsilon: self.epsilon as f32,
        }
    }

    /// Returns 1 − β₁ᵗ and 1 − β₂ᵗ.
    fn bias_corrections(&self, step: u64) -> (f64, f64) {
        (
            1.0 - self.beta1.powf(step as f64),
            1.0 - self.beta2.powf(step as f64),
        )
    }
}

fn check_shapes(parameter: &Var, gradient: &Tensor) -> Result<()> {
    if gradient.dims() != parameter.dims() {
        bail!(
            "the gradient is `{:?}` and its parameter `{:?}`: they must be equal",
            gradient.dims(),
            parameter.dims()
        )
    }
    Ok(())
}
