//! Attention by tiles: on tensor cores in bf16, by single threads in f32.

use candle_core::{DType, Error, Result, Tensor};

use super::flash::{Heads, Saved};
use super::graph::operation;
use super::memory::{Buffer, span};
use super::product::{factor, widened};
use crate::{Precision, Segments};

/// softmax(q·kᵀ/√d)·v over the visible keys, each group of query heads sharing a key/value head. In bf16, factors are
/// rounded, and so is the result.
pub(crate) fn attention(
    [q, k, v]: [&Tensor; 3],
    segments: &Segments,
    precision: Precision,
) -> Result<Tensor> {
    let (batch, queries, heads, head_dim) = q.dims4()?;
    let (_, keys, kv_heads, _) = k.dims4()?;
    let as_factor = move |x: &Tensor| factor(&x.contiguous()?, precision);
    let tracked = [q, k, v].map(Tensor::track_op);
    let factors = [as_factor(q)?, as_factor(k)?, as_factor(v)?];
    let size = Heads {
        batch,
        queries,
        keys,
        heads,
        kv_heads,
        head_dim,
        query_stride: heads * head_dim,
        key_stride: kv_heads * head_dim,
        dtype: factors[0].dtype(),
    };
    let spans = |factors: &[Tensor; 3]| -> Result<_> {
        Ok([span(&factors[0])?, span(&factors[1])?, span(&factors[2])?])
    };
    let [y, log_sums] = size.attend(spans(&factors)?, segments, q.device())?;
    let output = in_f32(&y)?;
    let segments = segments.clone();
    operation("attention", &[q, k, v], output, move |gradient| {
        let gradient = as_factor(gradient)?;
        let shares = size.shares(&y, &gradient)?;
        let saved = Saved {
            factors: spans(&factors)?,
            gradient: &gradient,
            log_sums: &log_sums,
            shares: &shares,
            segments: &segments,
        };
        let [of_q, of_k, of_v] = [0, 1, 2].map(|place| {
            let like: &Tensor = &factors[place];
            Buffer::new(like.shape(), like.dtype(), like.device())
        });
        let (of_q, of_k, of_v) = (of_q?, of_k?, of_v?);
        if tracked[0] {
            size.query_gradient(&saved, of_q.span()?)?;
        }
        if tracked[1] || tracked[2] {
            size.key_gradients(&saved, [of_k.span()?, of_v.span()?])?;
        }
        let widen = |(tracked, x): (bool, Buffer)| match (tracked, x.into_tensor()) {
            (false, _) => Ok::<_, Error>(None),
            (true, x) if x.dtype() == DType::F32 => Ok(Some(x)),
            (true, x) => Ok(Some(widened(&x)?.into_tensor())),
        };
        let all = tracked.into_iter().zip([of_q, of_k, of_v]);
        all.map(widen).collect()
    })
}

/// Returns a copy of the output `y` in f32, so that the backward pass can keep `y` itself.
fn in_f32(y: &Tensor) -> Result<Buffer> {
    match y.dtype() {
        DType::F32 => Buffer::copy_of(y),
        _ => widened(y),
    }
}
