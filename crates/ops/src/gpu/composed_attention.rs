//! Attention from Candle's operations, with its own backward pass: for what has no kernel.

use candle_core::{
    CpuStorage, CudaStorage, CustomOp3, D, Layout, MetalStorage, Result, Shape, Tensor,
};
use candle_nn::ops::softmax_last_dim;

use super::composed::{factor, product};
use crate::computed::Computed;
use crate::reference::head_by_head;
use crate::{Precision, Segments};

struct Attention {
    output: Computed,
    /// softmax(q·kᵀ/√d), as a factor: (batch, heads, query, key).
    weights: Tensor,
    scale: f64,
    precision: Precision,
}

/// softmax(q·kᵀ/√d + mask)·v, each group of query heads sharing a key/value head.
pub(crate) fn attention(
    [q, k, v]: [&Tensor; 3],
    segments: &Segments,
    precision: Precision,
) -> Result<Tensor> {
    if q.elem_count() == 0 {
        return q.zeros_like();
    }
    let (_, _, heads, head_dim) = q.dims4()?;
    let [q, k, v] = head_by_head([q, k, v])?;
    let scale = 1.0 / (head_dim as f64).sqrt();
    let [left, right, value] = [&q, &k, &v].map(|x| factor(&x.detach(), precision));
    let scores = (product(&left?, &right?.t()?, &q)? * scale)?; // (batch, heads, query, key)
    let scores = (scores + segments.mask_of_heads(heads, q.device(), q.dtype())?)?;
    let weights = factor(&softmax_last_dim(&scores)?, precision)?;
    let output = product(&weights, &value?, &q)?;
    let operation = Attention {
        output: Computed::new(output),
        weights,
        scale,
        precision,
    };
    q.apply_op3(&k, &v, operation)?
        .transpose(1, 2)?
        .contiguous()
}

impl CustomOp3 for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.output.on_cpu()
    }

    fn cuda_fwd(
        &self,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        self.output.on_cuda()
    }

    fn metal_fwd(
        &self,
        _: &MetalStorage,
        _: &Layout,
        _: &MetalStorage,
        _: &Layout,
        _: &MetalStorage,
        _: &Layout,
    ) -> Result<(MetalStorage, Shape)> {
        self.output.on_metal()
    }

    /// Computes, with P the weights and O the output: dV = Pᵀ·dO, dS = P ∘ (dO·Vᵀ − rowsum(dO ∘ O)), dQ = dS·K/√d, dK =
    /// dSᵀ·Q/√d.
    fn bwd(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        output: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (q, k, v) = (q.detach(), k.detach(), v.detach());
        let gradient = gradient.detach().contiguous()?;
        let mean = (&gradient * output.detach())?.sum_keepdim(D::Minus1)?; // (batch, heads, query, 1)
        let rounded = factor(&gradient, self.precision)?;
        let of_weights = product(&rounded, &factor(&v, self.precision)?.t()?, &q)?;
        let of_value = product(&self.weights.t()?, &rounded, &q)?;
        // Two dimensions are taken faster than four where one is broadcast.
        let shape = of_weights.shape().clone();
        let of_weights = of_weights
            .flatten_to(2)?
            .broadcast_sub(&mean.flatten_to(2)?)?;
        let of_scores = (of_weights.reshape(shape)? * self.weights.to_dtype(q.dtype())?)?;
        let of_scores = factor(&of_scores, self.precision)?;
        let of_query = product(&of_scores, &factor(&k, self.precision)?, &q)?;
        let of_key = product(&of_scores.t()?, &factor(&q, self.precision)?, &q)?;
        Ok((
            Some((of_query * self.scale)?),
            Some((of_key * self.scale)?),
            Some(of_value),
        ))
    }
}
