//! Linear projections of the network, each with an optional low-rank adapter.

use std::sync::Arc;

use candle_core::{Result, Tensor};
use polymath_base::fnv1a;
use polymath_ops::{self as ops, Dropout, LowRank};

use super::{A, B, LoraConfig, MAGNITUDE};

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
    /// Number of the random stream for this projection's dropout; every projection has its own.
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

    /// Returns the projection for the operations. `noise` seeds the dropout of each row of the batch; without it
    /// nothing is dropped.
    pub fn view<'a>(&'a self, noise: Option<&'a Arc<[u64]>>) -> ops::Projection<'a> {
        ops::Projection {
            weight: &self.weight,
            bias: self.bias.as_ref(),
            adapter: self.branch.as_ref().map(|branch| LowRank {
                a: &branch.a,
                b: &branch.b,
                scale: branch.scale,
                magnitude: branch.magnitude.as_ref(),
                dropout: noise.filter(|_| branch.dropout > 0.0).map(|seeds| Dropout {
                    share: branch.dropout,
                    stream: branch.stream,
                    seeds,
                }),
            }),
        }
    }
}
