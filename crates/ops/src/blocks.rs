//! The two halves of a transformer block, each as one operation.
//!
//! Candle's backward pass sets up and adds a gradient for every tensor between two operations. Where a whole half block
//! is one operation there is one such tensor, and what lies within is kept, or computed again, as suits best.

use std::sync::Arc;

use candle_core::{Result, Tensor, bail};

use crate::{Ops, RotaryTable, Segments, fused};

/// The weights of x + output·attention(rope(query·n), rope(key·n), value·n), n = norm(x); where queries and keys have norms
/// of their own, rope is of normed heads.
#[derive(Clone, Copy, Debug)]
pub struct SelfAttention<'a> {
    /// The norm's weight: (hidden).
    pub norm: &'a Tensor,
    /// The norm's ε.
    pub epsilon: f64,
    /// (heads·d, hidden).
    pub query: &'a Tensor,
    /// (kv_heads·d, hidden).
    pub key: &'a Tensor,
    /// (kv_heads·d, hidden).
    pub value: &'a Tensor,
    /// (hidden, heads·d).
    pub output: &'a Tensor,
    /// The weights of the norms of each query and each key, with the same ε: (d) twice.
    pub query_key_norm: Option<(&'a Tensor, &'a Tensor)>,
}

/// Where tokens stand, and which of them see each other.
#[derive(Clone, Copy, Debug)]
pub struct Placement<'a> {
    /// The table of angles; twice its frequencies is the dimension of a head.
    pub rotary: &'a RotaryTable,
    /// The position of each token: batch × sequence.
    pub positions: &'a Arc<[u32]>,
    /// Whom each token sees.
    pub segments: &'a Segments,
}

/// The weights of x + down·(silu(gate·n)·(up·n)), n = norm(x).
#[derive(Clone, Copy, Debug)]
pub struct FeedForward<'a> {
    /// The norm's weight: (hidden).
    pub norm: &'a Tensor,
    /// The norm's ε.
    pub epsilon: f64,
    /// (intermediate, hidden).
    pub gate: &'a Tensor,
    /// (intermediate, hidden).
    pub up: &'a Tensor,
    /// (hidden, intermediate).
    pub down: &'a Tensor,
}

impl Ops {
    /// The attention half of a block with its norm and residual, for whole rows: no cache.
    ///
    /// # Shapes
    /// (batch, sequence, hidden) → (batch, sequence, hidden)
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn self_attention(
        &self,
        x: &Tensor,
        weights: &SelfAttention,
        placement: &Placement,
    ) -> Result<Tensor> {
        let (batch, sequence, _) = x.dims3()?;
        let head_dim = 2 * placement.rotary.frequencies();
        let heads = |weight: &Tensor| -> Result<usize> {
            match weight.dims() {
                [rows, _] if rows % head_dim == 0 => Ok(rows / head_dim),
                dims => {
                    bail!("self_attention: a weight `{dims:?}` for heads of dimension `{head_dim}`")
                }
            }
        };
        let SelfAttention {
            norm,
            epsilon,
            query,
            key,
            value,
            output,
            query_key_norm,
        } = *weights;
        let (heads, kv_heads) = ((heads(query)?, heads(value)?), heads(key)?);
        self.check_half(x, norm, &[query, key, value, &output.t()?])?;
        self.check_placement((batch, sequence), placement)?;
        if heads.1 != kv_heads || kv_heads == 0 || heads.0 % kv_heads != 0 {
            bail!(
                "self_attention: `{}` query, `{kv_heads}` key and `{}` value heads",
                heads.0,
                heads.1
            )
        }
        let mut operands = vec![x, norm, query, key, value, output];
        if let Some((query, key)) = query_key_norm {
            if query.dims() != [head_dim] || key.dims() != [head_dim] {
                bail!(
                    "self_attention: norms of `{:?}` and `{:?}` for heads of dimension `{head_dim}`",
                    query.dims(),
                    key.dims()
                )
            }
            operands.extend([query, key]);
        }
        if self.fuses(&operands) {
            return fused::self_attention(x, weights, placement, self.precision);
        }
        let normed = self.rms_norm(x, norm, epsilon)?;
        let project = |weight: &Tensor, heads: usize| -> Result<Tensor> {
            let shape = (batch, sequence, heads, head_dim);
            self.linear(&normed, weight, None)?.reshape(shape)
        };
        let turn = |x: Tensor| self.rope(&x, placement.rotary, placement.positions);
        let (mut query, mut key) = (project(query, heads.0)?, project(key, kv_heads)?);
        if let Some((query_norm, key_norm)) = query_key_norm {
            query = self.rms_norm(&query, query_norm, epsilon)?;
            key = self.rms_norm(&key, key_norm, epsilon)?;
        }
        let (query, key) = (turn(query)?, turn(key)?);
        let value = project(value, kv_heads)?;
        let mixed = self.attention(&query, &key, &value, placement.segments)?;
        x + self.linear(&mixed.flatten_from(2)?, output, None)?
    }

    /// The feed-forward half of a block with its norm and residual.
    ///
    /// # Shapes
    /// (batch, sequence, hidden) → (batch, sequence, hidden)
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn feed_forward(&self, x: &Tensor, weights: &FeedForward) -> Result<Tensor> {
        let FeedForward {
            norm,
            epsilon,
            gate,
            up,
            down,
        } = *weights;
        self.check_half(x, norm, &[gate, up, &down.t()?])?;
        if gate.dims() != up.dims() || gate.dim(0)? != down.dim(1)? {
            bail!(
                "feed_forward: weights `{:?}`, `{:?}` and `{:?}` do not fit",
                gate.dims(),
                up.dims(),
                down.dims()
            )
        }
        if self.fuses(&[x, norm, gate, up, down]) {
            return fused::feed_forward(x, weights, self.precision);
        }
        let normed = self.rms_norm(x, norm, epsilon)?;
        let gate = self.linear(&normed, gate, None)?;
        let up = self.linear(&normed, up, None)?;
        x + self.linear(&self.swiglu(&gate, &up)?, down, None)?
    }

    /// All weights must take x's last dimension.
    fn check_half(&self, x: &Tensor, norm: &Tensor, weights: &[&Tensor]) -> Result<()> {
        let (_, _, hidden) = x.dims3()?;
        let fits = |weight: &&Tensor| matches!(weight.dims(), [_, inputs] if *inputs == hidden);
        if norm.dims() != [hidden] || !weights.iter().all(fits) {
            let dims: Vec<_> = weights.iter().map(|weight| weight.dims()).collect();
            bail!(
                "a norm of `{:?}` and weights `{dims:?}` for an input of `{:?}`",
                norm.dims(),
                x.dims()
            )
        }
        Ok(())
    }
}
