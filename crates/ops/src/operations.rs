//! Operations that models call. Shapes are checked here, once for all implementations.

use std::sync::Arc;

use candle_core::{D, DType, Result, Tensor, bail};

use crate::targets::check_targets;
use crate::{Ops, RotaryTable, Scores, Segments, fused, gpu, reference};

impl Ops {
    /// Computes x·weightᵀ + bias.
    ///
    /// # Shapes
    /// (.., in), (out, in), (out) → (.., out)
    ///
    /// # Errors
    /// Fails if the shapes do not fit.
    pub fn linear(&self, x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        let (outputs, inputs) = weight.dims2()?;
        if x.rank() == 0 || x.dim(D::Minus1)? != inputs {
            bail!(
                "linear: the input is `{:?}` and the weight `{:?}`: their last dimensions must be equal",
                x.dims(),
                weight.dims()
            )
        }
        if let Some(bias) = bias
            && bias.dims() != [outputs]
        {
            bail!(
                "linear: the bias is `{:?}`: the weight `{:?}` needs `[{outputs}]`",
                bias.dims(),
                weight.dims()
            )
        }
        if self.fuses(&[x, weight]) && bias.is_none_or(|bias| self.fuses(&[bias])) {
            return fused::linear(x, weight, bias, self.precision);
        }
        if self.runs_kernels(&[x, weight]) && bias.is_none_or(|bias| self.runs_kernels(&[bias])) {
            return gpu::linear(x, weight, bias, self.precision);
        }
        reference::linear(x, weight, bias, self.precision)
    }

    /// Computes x / √(mean(x²) + ε) · γ, over the last dimension.
    ///
    /// # Shapes
    /// (.., width), (width) → (.., width)
    ///
    /// # Errors
    /// Fails if the shapes do not fit.
    pub fn rms_norm(&self, x: &Tensor, weight: &Tensor, epsilon: f64) -> Result<Tensor> {
        if x.rank() == 0 || weight.dims() != [x.dim(D::Minus1)?] {
            bail!(
                "rms_norm: the input is `{:?}` and the weight `{:?}`: expected one weight for each of the last dimension",
                x.dims(),
                weight.dims()
            )
        }
        if self.fuses(&[x, weight]) {
            return fused::rms_norm(x, weight, epsilon);
        }
        if self.runs_kernels(&[x, weight]) {
            return gpu::rms_norm(x, weight, epsilon);
        }
        reference::rms_norm(x, weight, epsilon)
    }

    /// Computes (x − mean(x)) / √(variance(x) + ε) · γ + β, over the last dimension; the variance is the mean of (x −
    /// mean(x))².
    ///
    /// # Shapes
    /// (.., width), (width), (width) → (.., width)
    ///
    /// # Errors
    /// Fails if the shapes do not fit.
    pub fn layer_norm(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        epsilon: f64,
    ) -> Result<Tensor> {
        let fits = |part: &Tensor| x.dims().last().is_some_and(|width| part.dims() == [*width]);
        if !fits(weight) || !fits(bias) {
            bail!(
                "layer_norm: the input is `{:?}`, the weight `{:?}` and the bias `{:?}`: expected one weight and one bias \
                 for each of the last dimension",
                x.dims(),
                weight.dims(),
                bias.dims()
            )
        }
        if self.fuses(&[x, weight, bias]) {
            return fused::layer_norm(x, weight, bias, epsilon);
        }
        if self.runs_kernels(&[x, weight, bias]) {
            return gpu::layer_norm(x, weight, bias, epsilon);
        }
        reference::layer_norm(x, weight, bias, epsilon)
    }

    /// Computes GELU in its tanh approximation (Hendrycks & Gimpel 2016), as GPT-2 does: x/2·(1 + tanh(√(2/π)·(x +
    /// 0.044715·x³))).
    ///
    /// # Shapes
    /// (..) → (..)
    ///
    /// # Errors
    /// Fails if a tensor operation on the device fails.
    pub fn gelu(&self, x: &Tensor) -> Result<Tensor> {
        if self.fuses(&[x]) {
            return fused::gelu(x);
        }
        if self.runs_kernels(&[x]) {
            return gpu::gelu(x);
        }
        reference::gelu(x)
    }

    /// Computes silu(gate)·up, where silu(x) = x / (1 + e⁻ˣ).
    ///
    /// # Shapes
    /// (..), (..) → (..)
    ///
    /// # Errors
    /// Fails if the shapes differ.
    pub fn swiglu(&self, gate: &Tensor, up: &Tensor) -> Result<Tensor> {
        if gate.dims() != up.dims() {
            bail!(
                "swiglu: the gate is `{:?}` and the other side `{:?}`: they must be equal",
                gate.dims(),
                up.dims()
            )
        }
        if self.fuses(&[gate, up]) {
            return fused::swiglu(gate, up);
        }
        if self.runs_kernels(&[gate, up]) {
            return gpu::swiglu(gate, up);
        }
        reference::swiglu(gate, up)
    }

    /// Rotates each pair `(x[i], x[i + d/2])` of a head by the angle of its position, in the layout that Hugging Face
    /// calls "rotate half".
    ///
    /// # Shapes
    /// (batch, sequence, heads, d), `positions` batch × sequence → (batch, sequence, heads, d)
    ///
    /// # Errors
    /// Fails if the shapes do not fit or a position is outside the table.
    pub fn rope(&self, x: &Tensor, table: &RotaryTable, positions: &Arc<[u32]>) -> Result<Tensor> {
        let (batch, sequence, _, head_dim) = x.dims4()?;
        if head_dim != 2 * table.frequencies() {
            bail!(
                "rope: heads of dimension `{head_dim}`, and a table of `{}` frequencies: expected half the dimension",
                table.frequencies()
            )
        }
        check_positions((batch, sequence), table, positions)?;
        if self.fuses(&[x]) {
            return fused::rope(x, table, positions);
        }
        if self.runs_kernels(&[x]) {
            return gpu::rope(x, table, positions);
        }
        reference::rope(x, table, positions)
    }

    /// Computes softmax(q·kᵀ/√d)·v over the keys that `segments` makes visible to each query. Query i is at key
    /// position key − query + i, so that the keys of a cache can come first.
    ///
    /// # Shapes
    /// (batch, query, heads, d), (batch, key, kv_heads, d) twice → (batch, query, heads, d); heads is a multiple of
    /// kv_heads.
    ///
    /// # Errors
    /// Fails if the shapes do not fit each other or the segments.
    pub fn attention(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        segments: &Segments,
    ) -> Result<Tensor> {
        let (batch, query, heads, head_dim) = q.dims4()?;
        let (key_batch, key, kv_heads, key_dim) = k.dims4()?;
        if k.dims() != v.dims() || key_batch != batch || key_dim != head_dim {
            bail!(
                "attention: queries `{:?}`, keys `{:?}` and values `{:?}` do not fit",
                q.dims(),
                k.dims(),
                v.dims()
            )
        }
        if kv_heads == 0 || heads % kv_heads != 0 {
            bail!("attention: `{heads}` query heads cannot share `{kv_heads}` key/value heads")
        }
        if segments.dims() != (batch, query, key) || key < query {
            bail!(
                "attention: (batch, query, key) is `{:?}` and the segments are made for `{:?}`",
                (batch, query, key),
                segments.dims()
            )
        }
        if self.fuses(&[q, k, v]) {
            return fused::attention([q, k, v], segments, self.precision);
        }
        let is_attended = gpu::attends(head_dim) && segments.is_in_order();
        if is_attended && q.elem_count() > 0 && self.runs_kernels(&[q, k, v]) {
            return gpu::attention([q, k, v], segments, self.precision);
        }
        if self.has_own_backward(q) {
            return gpu::composed_attention([q, k, v], segments, self.precision);
        }
        reference::attention([q, k, v], segments, self.precision)
    }

    /// Returns the rows of `weight` with the given ids. The ids may be on the CPU even if the weight is not: on a GPU
    /// the backward pass sorts them on the CPU.
    ///
    /// # Shapes
    /// (vocabulary, hidden), (batch, sequence) of u32 → (batch, sequence, hidden)
    ///
    /// # Errors
    /// Fails if an id is outside the vocabulary.
    pub fn embedding(&self, weight: &Tensor, ids: &Tensor) -> Result<Tensor> {
        weight.dims2()?;
        if ids.dtype() != DType::U32 {
            bail!("embedding: ids of type `{:?}`: expected `U32`", ids.dtype())
        }
        if self.fuses(&[weight]) {
            return fused::embedding(weight, ids);
        }
        if self.runs_kernels(&[weight]) {
            return gpu::embedding(weight, ids);
        }
        reference::embedding(weight, &gpu::ids_on(weight.device(), ids)?)
    }

    /// Computes `Σ −ln softmax(logits)[target] + z_loss·(ln Σ e^logit)²` in nats, over the targets other than
    /// [`IGNORED`](crate::IGNORED), with logits = hidden·weightᵀ. Output projection and loss are one operation, so
    /// that the logits of all tokens are never in memory together. The second term (Chowdhery 2022, section 5) keeps
    /// the logits from drifting; a `z_loss` of 0 disables it.
    ///
    /// # Shapes
    /// (tokens, hidden), (vocabulary, hidden), `targets` tokens → ()
    ///
    /// # Errors
    /// Fails if the shapes do not fit or a target is outside the vocabulary.
    pub fn cross_entropy(
        &self,
        hidden: &Tensor,
        weight: &Tensor,
        targets: &Arc<[u32]>,
        z_loss: f64,
    ) -> Result<Tensor> {
        check_targets("cross_entropy", hidden, weight, targets)?;
        if self.fuses(&[hidden, weight]) {
            return fused::cross_entropy(hidden, weight, (targets, z_loss), self.precision);
        }
        if self.runs_kernels(&[hidden, weight]) {
            return gpu::cross_entropy(hidden, weight, (targets, z_loss), self.precision);
        }
        if self.has_own_backward(hidden) {
            return gpu::composed_cross_entropy(hidden, weight, (targets, z_loss), self.precision);
        }
        reference::cross_entropy(hidden, weight, (targets, z_loss), self.precision)
    }

    /// Returns −ln p of each target, and whether the target is the most likely token. The result is in no graph.
    ///
    /// # Shapes
    /// (tokens, hidden), (vocabulary, hidden), `targets` tokens → tokens
    ///
    /// # Errors
    /// Fails if the shapes do not fit or a target is outside the vocabulary.
    pub fn score(&self, hidden: &Tensor, weight: &Tensor, targets: &Arc<[u32]>) -> Result<Scores> {
        check_targets("score", hidden, weight, targets)?;
        if self.fuses(&[hidden, weight]) {
            return fused::score(hidden, weight, targets, self.precision);
        }
        if self.runs_kernels(&[hidden, weight]) {
            return gpu::score(hidden, weight, targets, self.precision);
        }
        reference::score(hidden, weight, targets, self.precision)
    }
}

/// Fails unless there is one position for each token and all lie within the table.
pub(crate) fn check_positions(
    (batch, sequence): (usize, usize),
    table: &RotaryTable,
    positions: &[u32],
) -> Result<()> {
    if positions.len() != batch * sequence {
        bail!(
            "rope: `{}` positions for `{batch}` rows of `{sequence}`",
            positions.len()
        )
    }
    let outside = |&&position: &&u32| position as usize >= table.max_positions();
    if let Some(position) = positions.iter().find(outside) {
        bail!(
            "rope: position `{position}` is outside the table of `{}` positions",
            table.max_positions()
        )
    }
    Ok(())
}
