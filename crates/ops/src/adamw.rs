//! The AdamW update.

use candle_core::{Result, Tensor, Var, bail};

use crate::Ops;

/// AdamW with decoupled weight decay:
///
/// ```text
/// m ← β₁·m + (1 − β₁)·g        v ← β₂·v + (1 − β₂)·g²
/// p ← p − η·λ·p − η·(m / (1 − β₁ᵗ)) / (√(v / (1 − β₂ᵗ)) + ε)
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    /// η.
    pub learning_rate: f64,
    /// β₁, the memory of the mean gradient.
    pub beta1: f64,
    /// β₂, the memory of the mean squared gradient.
    pub beta2: f64,
    /// ε, which keeps the division finite.
    pub epsilon: f64,
    /// λ, decoupled from the gradient.
    pub weight_decay: f64,
}

/// Where in the run an update stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct UpdateAt {
    /// The number of the update, from 1: it corrects the moments' bias towards 0.
    pub step: u64,
    /// What the gradient is multiplied with first: clipping, and the mean over tokens.
    pub gradient_scale: f64,
}

/// The running means of one parameter's gradient and squared gradient.
#[derive(Clone, Debug)]
pub struct Moments {
    first: Tensor,
    second: Tensor,
}

impl Moments {
    /// The moments before the first update.
    ///
    /// # Errors
    /// No memory on the device.
    pub fn zeros(parameter: &Var) -> Result<Self> {
        Ok(Self {
            first: parameter.as_detached_tensor().zeros_like()?,
            second: parameter.as_detached_tensor().zeros_like()?,
        })
    }

    /// The means of the gradient and of its square, to be saved.
    ///
    /// # Errors
    /// The device's own.
    pub fn to_tensors(&self) -> Result<(Tensor, Tensor)> {
        Ok((self.first.clone(), self.second.clone()))
    }

    /// Moments that were saved.
    ///
    /// # Errors
    /// A shape that is not the parameter's.
    pub fn from_tensors(parameter: &Var, first: &Tensor, second: &Tensor) -> Result<Self> {
        for moment in [first, second] {
            if moment.dims() != parameter.dims() {
                bail!(
                    "a saved moment is `{:?}` and its parameter `{:?}`: they must be equal",
                    moment.dims(),
                    parameter.dims()
                )
            }
        }
        let place = |moment: &Tensor| {
            moment
                .detach()
                .to_device(parameter.device())?
                .to_dtype(parameter.dtype())
        };
        Ok(Self {
            first: place(first)?,
            second: place(second)?,
        })
    }
}

impl AdamW {
    /// Moves `parameter` and `moments` by one update, in place.
    ///
    /// # Errors
    /// A gradient whose shape is not the parameter's.
    pub fn step(
        &self,
        _ops: Ops,
        parameter: &Var,
        gradient: &Tensor,
        moments: &mut Moments,
        at: UpdateAt,
    ) -> Result<()> {
        if gradient.dims() != parameter.dims() {
            bail!(
                "the gradient is `{:?}` and its parameter `{:?}`: they must be equal",
                gradient.dims(),
                parameter.dims()
            )
        }
        self.composed(parameter, gradient, moments, at)
    }

    fn composed(
        &self,
        parameter: &Var,
        gradient: &Tensor,
        moments: &mut Moments,
        at: UpdateAt,
    ) -> Result<()> {
        let gradient = (gradient.detach() * at.gradient_scale)?;
        moments.first = ((&moments.first * self.beta1)? + (&gradient * (1.0 - self.beta1))?)?;
        moments.second =
            ((&moments.second * self.beta2)? + (gradient.sqr()? * (1.0 - self.beta2))?)?;
        let (first_share, second_share) = self.bias_corrections(at.step);
        let mean = (&moments.first / first_share)?;
        let spread = ((&moments.second / second_share)?.sqrt()? + self.epsilon)?;
        let kept =
            (parameter.as_detached_tensor() * (1.0 - self.learning_rate * self.weight_decay))?;
        let moved = (kept - ((mean / spread)? * self.learning_rate)?)?;
        parameter.set(&moved)
    }

    /// 1 − β₁ᵗ and 1 − β₂ᵗ.
    fn bias_corrections(&self, step: u64) -> (f64, f64) {
        (
            1.0 - self.beta1.powf(step as f64),
            1.0 - self.beta2.powf(step as f64),
        )
    }
}
