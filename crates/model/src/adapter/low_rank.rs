//! The computation of a projection that may have an adapter beside it.

use candle_core::{D, Result, Tensor};
use polymath_ops::Ops;

use super::{A, B, LoraConfig, MAGNITUDE};
use crate::initialise::{fnv1a, mix};

/// A projection, and the detour beside it.
#[derive(Clone)]
pub(crate) struct Projection {
    pub weight: Tensor,
    bias: Option<Tensor>,
    detour: Option<Detour>,
}

#[derive(Clone)]
struct Detour {
    a: Tensor,
    b: Tensor,
    magnitude: Option<Tensor>,
    scale: f64,
    dropout: f64,
    /// Sets this projection's dropout apart from every other's.
    stream: u64,
}

impl Projection {
    /// The projection called `module`; its tensors come from `weight` by name.
    pub fn new(
        module: &str,
        adapter: Option<&LoraConfig>,
        weight: &dyn Fn(&str) -> Result<Tensor>,
    ) -> Result<Self> {
        let part = |part: &str| weight(&format!("{module}.{part}"));
        let detour = match adapter.filter(|adapter| adapter.adapts(module)) {
            None => None,
            Some(adapter) => Some(Detour {
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
            detour,
        })
    }

    /// With a bias, which stays as it is beside an adapter.
    pub fn with_bias(self, bias: Option<Tensor>) -> Self {
        Self { bias, ..self }
    }

    /// Its tensors, in an order that never changes.
    pub fn tensors_mut(&mut self) -> Vec<&mut Tensor> {
        let mut tensors = vec![&mut self.weight];
        tensors.extend(&mut self.bias);
        if let Some(detour) = &mut self.detour {
            tensors.extend([&mut detour.a, &mut detour.b]);
            tensors.extend(&mut detour.magnitude);
        }
        tensors
    }

    /// Whether there is no adapter and no bias, so that the weight alone says everything.
    pub fn is_plain(&self) -> bool {
        self.detour.is_none() && self.bias.is_none()
    }

    /// y = W·x + s·B·A·drop(x), or with DoRA m/‖W + s·B·A‖ · that, the norm of each row being a constant to the
    /// gradient, as in the paper; and the bias, if there is one. `noise` decides what is dropped; nothing is without.
    ///
    /// # Shapes
    /// (batch, sequence, in) → (batch, sequence, out)
    pub fn forward(&self, ops: Ops, x: &Tensor, noise: Option<u64>) -> Result<Tensor> {
        let Some(detour) = &self.detour else {
            return ops.linear(x, &self.weight, self.bias.as_ref()); // (batch, sequence, out)
        };
        let straight = ops.linear(x, &self.weight, None)?;
        let x = detour.drop(x, noise)?;
        let narrow = ops.linear(&x, &detour.a, None)?; // (batch, sequence, rank)
        let around = (ops.linear(&narrow, &detour.b, None)? * detour.scale)?;
        let mut y = (straight + around)?;
        if let Some(magnitude) = &detour.magnitude {
            let moved = shifted(&self.weight, (&detour.a, &detour.b), detour.scale)?;
            y = y.broadcast_mul(&(magnitude / row_norms(&moved)?)?)?;
        }
        match &self.bias {
            None => Ok(y),
            Some(bias) => y.broadcast_add(bias),
        }
    }
}

impl Detour {
    /// Zeroes a share of x and scales the rest up, so that the mean stays.
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

/// W + s·B·A in no graph: `(out, in)`.
pub(super) fn shifted(weight: &Tensor, (a, b): (&Tensor, &Tensor), scale: f64) -> Result<Tensor> {
    weight.detach() + (b.detach().matmul(&a.detach())? * scale)?
}

/// The length of each row, above zero: `(out, in)` → `(out)`.
pub(super) fn row_norms(weight: &Tensor) -> Result<Tensor> {
    weight.sqr()?.sum(D::Minus1)?.sqrt()?.maximum(1e-30f32)
}
