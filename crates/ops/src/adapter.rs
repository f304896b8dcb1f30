//! Projections with low-rank adapters: LoRA ([Hu et al. 2021](https://arxiv.org/abs/2106.09685)) and DoRA
//! ([Liu et al. 2024](https://arxiv.org/abs/2402.09353)).

use std::sync::Arc;

use candle_core::{D, Result, Tensor, bail};
use polymath_base::{GOLDEN, mix};

use crate::{Ops, gpu};

/// Projection of a transformer block: y = W·x + bias, or with an adapter W·x + s·B·A·drop(x) + bias.
#[derive(Clone, Copy, Debug)]
pub struct Projection<'a> {
    /// W: (out, in).
    pub weight: &'a Tensor,
    /// (out).
    pub bias: Option<&'a Tensor>,
    /// Low-rank branch beside W.
    pub adapter: Option<LowRank<'a>>,
}

/// Low-rank branch of a projection: s·B·A·drop(x). With a magnitude m (DoRA), the sum of W·x and the branch is scaled
/// by m/‖W + s·B·A‖, row by row; the norms are constants for the gradient.
#[derive(Clone, Copy, Debug)]
pub struct LowRank<'a> {
    /// A: (rank, in).
    pub a: &'a Tensor,
    /// B: (out, rank).
    pub b: &'a Tensor,
    /// s.
    pub scale: f64,
    /// m: (out).
    pub magnitude: Option<&'a Tensor>,
    /// Dropout of the branch's input; `None` for no dropout.
    pub dropout: Option<Dropout<'a>>,
}

/// Dropout of an adapter's input. Which elements are dropped depends only on the row's seed, the projection and the
/// element's place in the row, so that a batch may be computed in parts, or again.
#[derive(Clone, Copy, Debug)]
pub struct Dropout<'a> {
    /// Share of the elements that become zero; the others are divided by what remains.
    pub share: f64,
    /// Number of the projection, different from that of every other projection.
    pub stream: u64,
    /// Seed of each row of the batch.
    pub seeds: &'a Arc<[u64]>,
}

/// Factors of the dropped input's elements.
#[derive(Clone, Debug)]
pub(crate) struct DropoutMask {
    /// Start of each row's stream of draws.
    pub streams: Vec<u64>,
    /// Draws below it drop their element; a draw is a number of 53 bits.
    pub threshold: u64,
    /// Factor of the elements that stay.
    pub kept: f32,
}

impl<'a> From<&'a Tensor> for Projection<'a> {
    fn from(weight: &'a Tensor) -> Self {
        Self {
            weight,
            bias: None,
            adapter: None,
        }
    }
}

impl<'a> Projection<'a> {
    /// Returns true if there is neither a bias nor an adapter.
    pub(crate) fn is_plain(&self) -> bool {
        self.bias.is_none() && self.adapter.is_none()
    }

    /// Returns all tensors of the projection.
    pub(crate) fn tensors(&self) -> impl Iterator<Item = &'a Tensor> {
        let adapter = self.adapter.iter();
        let branch = adapter.flat_map(|branch| [Some(branch.a), Some(branch.b), branch.magnitude]);
        [Some(self.weight), self.bias]
            .into_iter()
            .chain(branch.collect::<Vec<_>>())
            .flatten()
    }

    /// Refuses tensors whose shapes do not fit W, and seeds for another number of rows.
    pub(crate) fn check(&self, rows: usize) -> Result<()> {
        let (outputs, inputs) = self.weight.dims2()?;
        let Some(adapter) = &self.adapter else {
            return Ok(());
        };
        let rank = adapter.a.dims2()?.0;
        let magnitude = adapter.magnitude.map(Tensor::dims);
        let fits = rank > 0
            && adapter.a.dims() == [rank, inputs]
            && adapter.b.dims() == [outputs, rank]
            && magnitude.is_none_or(|dims| dims == [outputs]);
        if !fits {
            bail!(
                "an adapter of `{:?}` and `{:?}`, magnitudes `{magnitude:?}`, for a weight of `{:?}`",
                adapter.a.dims(),
                adapter.b.dims(),
                self.weight.dims()
            )
        }
        match adapter.dropout {
            Some(dropout) if dropout.seeds.len() != rows => bail!(
                "dropout has `{}` seeds for a batch of `{rows}` rows",
                dropout.seeds.len()
            ),
            Some(dropout) if !(0.0..1.0).contains(&dropout.share) => bail!(
                "dropout of a share of `{}`: expected 0 to below 1",
                dropout.share
            ),
            _ => Ok(()),
        }
    }
}

impl Dropout<'_> {
    pub(crate) fn mask(&self) -> DropoutMask {
        DropoutMask {
            streams: (self.seeds.iter())
                .map(|seed| scatter(seed ^ self.stream))
                .collect(),
            threshold: (self.share * (1u64 << 53) as f64).ceil() as u64,
            kept: (1.0 / (1.0 - self.share)) as f32,
        }
    }
}

impl DropoutMask {
    /// Returns the factor of an element: `row` of the batch, `at` its place in the row.
    pub fn factor(&self, row: usize, at: usize) -> f32 {
        match scatter(self.streams[row].wrapping_add(at as u64)) >> 11 < self.threshold {
            true => 0.0,
            false => self.kept,
        }
    }

    /// Multiplies x by the mask outside of the fused kernels: (batch, .., in) → (batch, .., in).
    fn apply(&self, x: &Tensor) -> Result<Tensor> {
        let length = x.elem_count().checked_div(x.dim(0)?).unwrap_or(0);
        let factors: Vec<f32> = (0..x.elem_count())
            .map(|at| self.factor(at / length, at % length))
            .collect();
        x * Tensor::from_vec(factors, x.dims(), x.device())?.to_dtype(x.dtype())?
    }
}

/// Mixes a number over a Weyl sequence, so that neighboring numbers fall far apart.
fn scatter(value: u64) -> u64 {
    mix(value.wrapping_mul(GOLDEN))
}

impl Ops {
    /// Applies a projection: y = W·x + bias, or with an adapter as [`Projection`] and [`LowRank`] say.
    ///
    /// # Shapes
    /// (batch, .., in) → (batch, .., out)
    ///
    /// # Errors
    /// Fails if the shapes do not fit.
    pub fn project(&self, x: &Tensor, projection: &Projection) -> Result<Tensor> {
        projection.check(x.dim(0)?)?;
        let Projection {
            weight,
            bias,
            adapter,
        } = *projection;
        let Some(adapter) = adapter else {
            return self.linear(x, weight, bias);
        };
        let straight = self.linear(x, weight, None)?;
        let dropped = match &adapter.dropout {
            Some(dropout) if self.runs_kernels(&[x]) => gpu::dropout(x, dropout.mask())?,
            Some(dropout) => dropout.mask().apply(x)?,
            None => x.clone(),
        };
        let narrow = self.linear(&dropped, adapter.a, None)?; // (batch, .., rank)
        let branch = (self.linear(&narrow, adapter.b, None)? * adapter.scale)?;
        let mut y = (straight + branch)?;
        if let Some(magnitude) = adapter.magnitude {
            let norms = match self.runs_kernels(&[weight, adapter.a, adapter.b]) {
                true => gpu::merged_norms(weight, &adapter)?,
                false => row_norms(&merged_weight(weight, &adapter)?)?,
            };
            y = y.broadcast_mul(&(magnitude / norms)?)?;
        }
        match bias {
            None => Ok(y),
            Some(bias) => y.broadcast_add(bias),
        }
    }
}

/// Computes W + s·B·A outside the graph, without the magnitudes.
///
/// # Shapes
/// (out, in) → (out, in)
///
/// # Errors
/// Fails if the shapes do not fit.
pub fn merged_weight(weight: &Tensor, adapter: &LowRank) -> Result<Tensor> {
    let product = adapter.b.detach().matmul(&adapter.a.detach())?;
    weight.detach() + (product * adapter.scale)?
}

/// Computes the norm of each row, at least 1e-30.
///
/// # Shapes
/// (out, in) → (out)
///
/// # Errors
/// Fails if the tensor is not a matrix.
pub fn row_norms(weight: &Tensor) -> Result<Tensor> {
    weight.sqr()?.sum(D::Minus1)?.sqrt()?.maximum(SMALLEST_NORM)
}

/// Norm of a row of zeros, which would otherwise be divided by.
pub(crate) const SMALLEST_NORM: f32 = 1e-30;
