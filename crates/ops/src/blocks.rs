//! Sublayers of a transformer block, each as one operation.
//!
//! Candle's backward pass allocates and adds one gradient for every tensor between two operations. A whole sublayer
//! as one operation has only one such tensor. Its intermediate values are stored or recomputed, whichever is cheaper.

use candle_core::{Result, Tensor, bail};

use crate::operations::check_positions;
use crate::{FeedForward, Ops, Placement, Precision, Projection, SelfAttention, fused, gpu};

impl Ops {
    /// Applies the attention sublayer: norm, attention and residual. Works on whole rows, without a key/value cache.
    ///
    /// # Shapes
    /// (batch, sequence, hidden) → (batch, sequence, hidden)
    ///
    /// # Errors
    /// Fails if the shapes do not fit.
    pub fn self_attention(
        &self,
        x: &Tensor,
        weights: &SelfAttention,
        placement: &Placement,
    ) -> Result<Tensor> {
        let (batch, sequence, _) = x.dims3()?;
        let head_dim = 2 * placement.rotary.frequencies();
        let heads = |projection: Projection| -> Result<usize> {
            match projection.weight.dims() {
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
        self.check_weights(x, norm, [query, key, value], output)?;
        self.check_placement((batch, sequence), placement)?;
        if heads.1 != kv_heads || kv_heads == 0 || heads.0 % kv_heads != 0 {
            bail!(
                "self_attention: `{}` query, `{kv_heads}` key and `{}` value heads",
                heads.0,
                heads.1
            )
        }
        let projections = [query, key, value, output];
        let mut operands = vec![x, norm];
        operands.extend(projections.iter().flat_map(Projection::tensors));
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
        if self.fuses(&operands) && projections.iter().all(|part| part.bias.is_none()) {
            return fused::self_attention(x, weights, placement, self.precision);
        }
        if projections.iter().all(Projection::is_plain)
            && self.runs_kernels(&operands)
            && x.elem_count() > 0
            && gpu::takes_attention(weights, placement, self.precision)
        {
            return gpu::self_attention(x, weights, placement);
        }
        let normed = self.rms_norm(x, norm, epsilon)?;
        let project = |projection: Projection, heads: usize| -> Result<Tensor> {
            let shape = (batch, sequence, heads, head_dim);
            self.project(&normed, &projection)?.reshape(shape)
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
        x + self.project(&mixed.flatten_from(2)?, &output)?
    }

    /// Applies the feed-forward sublayer: norm, SwiGLU and residual.
    ///
    /// # Shapes
    /// (batch, sequence, hidden) → (batch, sequence, hidden)
    ///
    /// # Errors
    /// Fails if the shapes do not fit.
    pub fn feed_forward(&self, x: &Tensor, weights: &FeedForward) -> Result<Tensor> {
        let FeedForward {
            norm,
            epsilon,
            gate,
            up,
            down,
        } = *weights;
        self.check_weights(x, norm, [gate, up], down)?;
        let [gate_dims, down_dims] = [gate, down].map(|part| part.weight.dims());
        if gate_dims != up.weight.dims() || gate_dims[0] != down_dims[1] {
            bail!(
                "feed_forward: weights `{gate_dims:?}`, `{:?}` and `{down_dims:?}` do not fit",
                up.weight.dims()
            )
        }
        let projections = [gate, up, down];
        let mut operands = vec![x, norm];
        operands.extend(projections.iter().flat_map(Projection::tensors));
        if self.fuses(&operands) && projections.iter().all(|part| part.bias.is_none()) {
            return fused::feed_forward(x, weights, self.precision);
        }
        if projections.iter().all(Projection::is_plain)
            && self.precision == Precision::Bf16
            && x.elem_count() > 0
            && self.runs_kernels(&operands)
        {
            return gpu::feed_forward(x, weights);
        }
        let normed = self.rms_norm(x, norm, epsilon)?;
        let gate = self.project(&normed, &gate)?;
        let up = self.project(&normed, &up)?;
        x + self.project(&self.swiglu(&gate, &up)?, &down)?
    }

    /// Fails unless the norm and the inner projections take inputs as wide as x's last dimension, the output projection
    /// gives as many, and all adapters fit their projections.
    fn check_weights<const N: usize>(
        &self,
        x: &Tensor,
        norm: &Tensor,
        inner: [Projection; N],
        output: Projection,
    ) -> Result<()> {
        let (batch, _, hidden) = x.dims3()?;
        let takes =
            |part: &Projection| matches!(part.weight.dims(), [_, inputs] if *inputs == hidden);
        let gives = matches!(output.weight.dims(), [outputs, _] if *outputs == hidden);
        if norm.dims() != [hidden] || !gives || !inner.iter().all(takes) {
            let all = inner.iter().chain([&output]);
            let dims: Vec<_> = all.map(|part| part.weight.dims()).collect();
            bail!(
                "a norm of `{:?}` and weights `{dims:?}` for an input of `{:?}`",
                norm.dims(),
                x.dims()
            )
        }
        let mut all = inner.iter().chain([&output]);
        all.try_for_each(|part| part.check(batch))
    }

    /// Fails unless `placement` has a position for each token and a mask for whole rows of this batch and sequence
    /// length.
    pub(crate) fn check_placement(
        &self,
        (batch, sequence): (usize, usize),
        placement: &Placement,
    ) -> Result<()> {
        if placement.segments.dims() != (batch, sequence, sequence) {
            bail!(
                "self_attention: segments for (batch, query, key) `{:?}` and `{batch}` rows of `{sequence}`",
                placement.segments.dims()
            )
        }
        check_positions((batch, sequence), placement.rotary, placement.positions)
    }
}
