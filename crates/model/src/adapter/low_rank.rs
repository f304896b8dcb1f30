//! Forward pass of a projection with an optional low-rank adapter.

use candle_core::{D, Result, Tensor};
use polymath_ops::Ops;

use super::{A, B, LoraConfig, MAGNITUDE};
use polymath_base::fnv1a;

use crate::initialize::mix;

/// Linear projection with an optional low-rank adapter.
#[derive(Clone)]
pub(crate) struct Projection {
    pub weight: Tensor,
    bias: Option<Tensor>,
    branch: Option<LoraBranch>,
}

#[derive(Clone)]
struct LoraBranch {
    a: Tensor,
    b: Tensor,
    magnitude: Option<Tensor>,
    scale: f64,
    dropout: f64,
    /// Seed of this projection's dropout, different from that of every other projection.
    stream: u64,
}

impl Projection {
    /// Creates the projection named `module`; its tensors come from `weight` by name.
    pub fn new(
        module: &str,
        adapter: Option<&LoraConfig>,
        weight: &dyn Fn(&str) -> Result<Tensor>,
    ) -> Result<Self> {
        let part = |part: &str| weight(&format!("{module}.{part}"));
        let branch = match adapter.filter(|adapter| adapter.adapts(module)) {
            None => None,
            Some(adapter) => Some(LoraBranch {
                a: part(A)?,
                b: part(B)?,
                magnitude: adapter.dora.then(|| part(MAGNITUDE)).transpose()?,
                scale: adapter.scale(),
                dropout: adapter.dropout,
                stream: fnv1a(module),
            }),
        };
        Ok(Self {
            weight: part("weight")?,
            bias: None,
            branch,
        })
    }

    /// Adds a bias to the projection; adapters do not change biases.
    pub fn with_bias(self, bias: Option<Tensor>) -> Self {
        Self { bias, ..self }
    }

    /// Returns the tensors of the projection (weight, bias, adapter) in a fixed order.
    pub fn tensors_mut(&mut self) -> Vec<&mut Tensor> {
        let mut tensors = vec![&mut self.weight];
        tensors.extend(&mut self.bias);
        if let Some(branch) = &mut self.branch {
            tensors.extend([&mut branch.a, &mut branch.b]);
            tensors.extend(&mut branch.magnitude);
        }
        tensors
    }

    /// Returns true if there is neither an adapter nor a bias, so that the weight alone defines the projection.
    pub fn is_plain(&self) -> bool {
        self.branch.is_none() && self.bias.is_none()
    }

    /// Computes y = W·x + s·B·A·drop(x). With DoRA, each row is multiplied by m/‖W + s·B·A‖; these row norms are
    /// constants for the gradient, as in the [paper](https://arxiv.org/abs/2402.09353). Then adds the bias, if there
    /// is one. `noise` is the seed of the dropout; `None` turns dropout off.
    ///
    /// # Shapes
    /// (batch, sequence, in) → (batch, sequence, out)
    pub fn forward(&self, ops: Ops, x: &Tensor, noise: Option<u64>) -> Result<Tensor> {
        let Some(branch) = &self.branch else {
            return ops.linear(x, &self.weight, self.bias.as_ref()); // (batch, sequence, out)
        };
        let straight = ops.linear(x, &self.weight, None)?;
        let x = branch.drop(x, noise)?;
        let narrow = ops.linear(&x, &branch.a, None)?; // (batch, sequence, rank)
        let around = (ops.linear(&narrow, &branch.b, None)? * branch.scale)?;
        let mut y = (straight + around)?;
        if let Some(magnitude) = &branch.magnitude {
            let moved = shifted(&self.weight, (&branch.a, &branch.b), branch.scale)?;
            y = y.broadcast_mul(&(magnitude / row_norms(&moved)?)?)?;
        }
        match &self.bias {
            None => Ok(y),
            Some(bias) => y.broadcast_add(bias),
        }
    }
}

impl LoraBranch {
    /// Applies dropout: zeroes a random share of x and scales up the rest to keep the mean.
    fn drop(&self, x: &Tensor, noise: Option<u64>) -> Result<Tensor> {
        let Some(noise) = noise.filter(|_| self.dropout > 0.0) else {
            return Ok(x.clone());
        };
        let stream = mix(noise ^ self.stream);
        let kept = (1.0 / (1.0 - self.dropout)) as f32;
        let mask: Vec<f32> = (0..x.elem_count() as u64)
            .map(|at| {
                let uniform = (mix(stream.wrapping_add(at)) >> 11) as f64 / (1u64 << 53) as f64;
                if uniform < self.dropout { 0.0 } else { kept }
            })
            .collect();
        x * Tensor::from_vec(mask, x.dims(), x.device())?
    }
}

/// Computes the adapted weight W + s·B·A without gradients: `(out, in)`.
pub(super) fn shifted(weight: &Tensor, (a, b): (&Tensor, &Tensor), scale: f64) -> Result<Tensor> {
    weight.detach() + (b.detach().matmul(&a.detach())? * scale)?
}

/// Computes the norm of each row, at least 1e-30: `(out, in)` → `(out)`.
pub(super) fn row_norms(weight: &Tensor) -> Result<Tensor> {
    weight.sqr()?.sum(D::Minus1)?.sqrt()?.maximum(1e-30f32)
}
