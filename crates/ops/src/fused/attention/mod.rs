//! Causal attention over packed documents, as a Candle operation: FlashAttention-style tiling with an online softmax.
//!
//! Read `heads` (views of queries, keys and values), `tiles` (their products), `forward` and `backward` first. This
//! file holds the operation.

mod backward;
mod forward;
mod heads;
#[cfg(test)]
mod tests;
mod tiles;

use std::sync::OnceLock;

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};

use self::backward::BackwardHead;
pub(super) use self::backward::{Gradients, Place};
use self::forward::ForwardHead;
pub(super) use self::heads::{Heads, Shapes};
use crate::fused::gemm::format::Format;
use crate::fused::simd::buffer::{Shared, filled};
use crate::fused::simd::parallel::for_each;
use crate::fused::simd::storage::{Floats, strided, tensor};
use crate::{Precision, Segments};

impl Shapes<'_> {
    /// Returns the number of multiplications of q·kᵀ, from which the number of threads is chosen.
    fn work(&self) -> usize {
        let [batch, query, heads, head_dim] = self.q.dims;
        batch * heads * query * self.k.dims[1] * head_dim
    }

    /// Writes the output, contiguous, into `y`, which may be uninitialized, and the log-sum-exp of each query into
    /// `log_sums`: (batch, heads, query).
    pub fn forward(&self, y: Shared, log_sums: &mut [f32]) {
        let [batch, query, heads, head_dim] = self.q.dims;
        let log_sums = Shared::new(log_sums);
        for_each(batch * heads, self.work(), |task| {
            let (row, head) = (task / heads, task % heads);
            // SAFETY: each task writes its own queries.
            let log_sums = unsafe { log_sums.slice(task * query, query) };
            let out = (row * query * heads + head) * head_dim;
            ForwardHead::new(self, row, head).run(y, (out, heads * head_dim), log_sums);
        });
    }

    /// Adds the gradients of q, k and v, given the output and its gradient (`sides`).
    pub fn backward(&self, sides: [Heads; 2], log_sums: &[f32], gradients: Gradients) {
        let [batch, _, kv_heads, _] = self.k.dims;
        for_each(batch * kv_heads, self.work(), |task| {
            let (row, kv_head) = (task / kv_heads, task % kv_heads);
            BackwardHead::new(self, row, kv_head).run(sides, log_sums, gradients);
        });
    }
}

struct Attention {
    segments: Segments,
    precision: Precision,
    tracked: bool,
    /// Log-sum-exp of each query's scores, from which the backward pass recomputes the weights: (batch, heads, query).
    log_sums: OnceLock<Vec<f32>>,
}

/// Computes softmax(q·kᵀ/√d)·v over the visible keys: (batch, query, heads, d), (batch, key, kv_heads, d) twice →
/// (batch, query, heads, d).
pub(crate) fn attention(
    [q, k, v]: [&Tensor; 3],
    segments: &Segments,
    precision: Precision,
) -> Result<Tensor> {
    let whole_heads = |x: &Tensor| match x.stride() {
        [.., 1] => Ok(x.clone()),
        _ => x.contiguous(),
    };
    let operation = Attention {
        segments: segments.clone(),
        precision,
        tracked: q.track_op() || k.track_op() || v.track_op(),
        log_sums: OnceLock::new(),
    };
    whole_heads(q)?.apply_op3(&whole_heads(k)?, &whole_heads(v)?, operation)
}

impl CustomOp3 for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(
        &self,
        q: &CpuStorage,
        q_layout: &Layout,
        k: &CpuStorage,
        k_layout: &Layout,
        v: &CpuStorage,
        v_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let shapes = Shapes {
            q: Heads::new(strided(q, q_layout)?, q_layout)?,
            k: Heads::new(strided(k, k_layout)?, k_layout)?,
            v: Heads::new(strided(v, v_layout)?, v_layout)?,
            segments: &self.segments,
            format: Format::of_small(self.precision),
        };
        let [batch, query, heads, head_dim] = shapes.q.dims;
        let mut log_sums = vec![0.0; batch * heads * query];
        let fill = |y: Shared| shapes.forward(y, &mut log_sums);
        // SAFETY: the tasks write every head of every query.
        let y = unsafe { filled(batch * query * heads * head_dim, fill) };
        if self.tracked {
            let _ = self.log_sums.set(log_sums);
        }
        Ok((CpuStorage::F32(y), q_layout.shape().clone()))
    }

    fn bwd(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        y: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let gradient = gradient.contiguous()?;
        let (gradient, y) = (Floats::of(&gradient)?, Floats::of(y)?);
        let [q_storage, k_storage, v_storage] = [q, k, v].map(Tensor::storage_and_layout);
        let shapes = Shapes {
            q: Heads::of(&q_storage.0, q_storage.1)?,
            k: Heads::of(&k_storage.0, k_storage.1)?,
            v: Heads::of(&v_storage.0, v_storage.1)?,
            segments: &self.segments,
            format: Format::of_small(self.precision),
        };
        let Some(log_sums) = self.log_sums.get() else {
            bail!("attention: the backward pass of a forward pass that was not tracked")
        };
        let dims = shapes.q.dims;
        let mut dq = vec![0.0; q.elem_count()];
        let mut dk = vec![0.0; k.elem_count()];
        let mut dv = vec![0.0; v.elem_count()];
        let gradients = Gradients {
            q: Place::contiguous(&mut dq, dims),
            k: Place::contiguous(&mut dk, shapes.k.dims),
            v: Place::contiguous(&mut dv, shapes.v.dims),
        };
        let (y, gradient) = (
            Heads::contiguous(&y, dims),
            Heads::contiguous(&gradient, dims),
        );
        shapes.backward([y, gradient], log_sums, gradients);
        Ok((
            Some(tensor(dq, q.shape())?),
            Some(tensor(dk, k.shape())?),
            Some(tensor(dv, v.shape())?),
        ))
    }
}
