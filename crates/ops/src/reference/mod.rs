//! Reference implementation: every operation as a composition of Candle's own. A GPU runs it for everything but
//! attention and the loss.
//!
//! It uses only operations that Candle can differentiate: operations of `candle_nn` without a backward pass would
//! silently cut the graph. Only the scores are read back to the host.

mod distillation;

use std::sync::Arc;

use candle_core::{D, DType, Device, Result, Tensor};

pub(crate) use self::distillation::distillation;
use crate::round::Round;
use crate::targets::IGNORED;
use crate::{Precision, RotaryTable, Scores, Segments};

/// Rows of logits that [`score`] has in memory at a time.
const SCORED_ROWS: usize = 1024;

/// Computes a·b for (.., m, k) and (.., k, n), with the inputs rounded to `precision`.
pub(crate) fn product(a: &Tensor, b: &Tensor, precision: Precision) -> Result<Tensor> {
    if precision != Precision::Bf16 {
        return a.matmul(b);
    }
    if matches!(a.device(), Device::Cpu) {
        let a = a.contiguous()?.apply_op1(Round::Value)?;
        let b = b.contiguous()?.apply_op1(Round::Value)?;
        return a.matmul(&b)?.apply_op1(Round::Gradient);
    }
    let dtype = a.dtype();
    let (a, b) = (a.to_dtype(DType::BF16)?, b.to_dtype(DType::BF16)?);
    a.matmul(&b)?.to_dtype(dtype)
}

/// Computes x·weightᵀ + bias: (.., in), (out, in), (out) → (.., out).
pub(crate) fn linear(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    precision: Precision,
) -> Result<Tensor> {
    let (outputs, inputs) = weight.dims2()?;
    let mut dims = x.dims().to_vec();
    let rows: usize = dims[..dims.len() - 1].iter().product();
    let rows_of_x = x.reshape((rows, inputs))?;
    let y = product(&rows_of_x, &weight.t()?, precision)?; // (rows, out)
    let y = match bias {
        Some(bias) => y.broadcast_add(bias)?,
        None => y,
    };
    *dims.last_mut().expect("the rank was checked") = outputs;
    y.reshape(dims)
}

/// Computes x / √(mean(x²) + ε) · weight over the last dimension.
pub(crate) fn rms_norm(x: &Tensor, weight: &Tensor, epsilon: f64) -> Result<Tensor> {
    let width = x.dim(D::Minus1)?;
    let mean = (x.sqr()?.sum_keepdim(D::Minus1)? / width as f64)?;
    let scale = (mean + epsilon)?.sqrt()?.recip()?; // (.., 1)
    x.broadcast_mul(&scale)?.broadcast_mul(weight)
}

/// Computes (x − mean(x)) / √(variance(x) + ε) · weight + bias over the last dimension.
pub(crate) fn layer_norm(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    epsilon: f64,
) -> Result<Tensor> {
    let width = x.dim(D::Minus1)? as f64;
    let centered = x.broadcast_sub(&(x.sum_keepdim(D::Minus1)? / width)?)?;
    let variance = (centered.sqr()?.sum_keepdim(D::Minus1)? / width)?;
    let scale = (variance + epsilon)?.sqrt()?.recip()?; // (.., 1)
    let normed = centered.broadcast_mul(&scale)?;
    normed.broadcast_mul(weight)?.broadcast_add(bias)
}

/// Computes x/2·(1 + tanh u), with u = √(2/π)·(x + 0.044715·x³). The backward pass of Candle's own `gelu` is exact to
/// six digits only.
pub(crate) fn gelu(x: &Tensor) -> Result<Tensor> {
    let cube = (x.sqr()? * x)?;
    let u = ((x + (cube * 0.044715)?)? * (2.0 / std::f64::consts::PI).sqrt())?;
    (x * 0.5)? * (u.tanh()? + 1.0)?
}

/// Computes silu(gate)·up.
pub(crate) fn swiglu(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    gate.silu()? * up
}

/// Rotates the pairs (x[i], x[i + d/2]) of each head: (batch, sequence, heads, d).
pub(crate) fn rope(x: &Tensor, table: &RotaryTable, positions: &Arc<[u32]>) -> Result<Tensor> {
    let (batch, sequence, _, head_dim) = x.dims4()?;
    let half = head_dim / 2;
    let (cos, sin) = table.select(positions, x.dtype())?;
    let cos = cos.reshape((batch, sequence, 1, half))?;
    let sin = sin.reshape((batch, sequence, 1, half))?;
    let first = x.narrow(D::Minus1, 0, half)?;
    let second = x.narrow(D::Minus1, half, half)?;
    let rotated_first = (first.broadcast_mul(&cos)? - second.broadcast_mul(&sin)?)?;
    let rotated_second = (second.broadcast_mul(&cos)? + first.broadcast_mul(&sin)?)?;
    Tensor::cat(&[&rotated_first, &rotated_second], D::Minus1)
}

/// Computes softmax(q·kᵀ/√d + mask)·v. Each group of query heads shares a key/value head.
pub(crate) fn attention(
    [q, k, v]: [&Tensor; 3],
    segments: &Segments,
    precision: Precision,
) -> Result<Tensor> {
    if q.elem_count() == 0 {
        return q.zeros_like(); // Candle reduces no empty tensors
    }
    let head_dim = q.dim(D::Minus1)?;
    let [q, k, v] = head_by_head([q, k, v])?;
    let scores = product(&q, &k.t()?.contiguous()?, precision)?; // (batch, heads, query, key)
    let scores = (scores * (1.0 / (head_dim as f64).sqrt()))?;
    let scores = scores.broadcast_add(&segments.mask(q.device(), q.dtype())?)?;
    // The largest score is subtracted as a constant: it cancels in the result and in the gradient.
    let largest = scores.max_keepdim(D::Minus1)?.detach();
    let weights = scores.broadcast_sub(&largest)?.exp()?;
    let weights = weights.broadcast_div(&weights.sum_keepdim(D::Minus1)?)?;
    product(&weights, &v, precision)?
        .transpose(1, 2)?
        .contiguous()
}

/// Returns queries, keys and values with heads before positions, contiguous, and each key/value head repeated for its
/// query heads: (batch, query, heads, d), (batch, key, kv_heads, d) twice → (batch, heads, query, d), (batch, heads,
/// key, d) twice.
pub(crate) fn head_by_head([q, k, v]: [&Tensor; 3]) -> Result<[Tensor; 3]> {
    let times = q.dim(2)? / k.dim(2)?;
    Ok([
        q.transpose(1, 2)?.contiguous()?,
        repeat_heads(&k.transpose(1, 2)?, times)?,
        repeat_heads(&v.transpose(1, 2)?, times)?,
    ])
}

/// Repeats each head `times` times in a row: (batch, kv_heads, key, d) → (batch, kv_heads·times, key, d).
fn repeat_heads(x: &Tensor, times: usize) -> Result<Tensor> {
    if times == 1 {
        return x.contiguous();
    }
    let (batch, heads, key, head_dim) = x.dims4()?;
    x.unsqueeze(2)?
        .broadcast_as((batch, heads, times, key, head_dim))?
        .contiguous()?
        .reshape((batch, heads * times, key, head_dim))
}

/// Returns the rows of `weight` with the given ids: (vocabulary, hidden), (batch, sequence) → (batch, sequence,
/// hidden).
pub(crate) fn embedding(weight: &Tensor, ids: &Tensor) -> Result<Tensor> {
    let hidden = weight.dim(1)?;
    let mut dims = ids.dims().to_vec();
    dims.push(hidden);
    weight.index_select(&ids.flatten_all()?, 0)?.reshape(dims)
}

/// Computes Σ −ln softmax(logits)[target] + z_loss·(ln Σ e^logit)² over the targets other than `IGNORED`, with logits
/// = hidden·weightᵀ.
pub(crate) fn cross_entropy(
    hidden: &Tensor,
    weight: &Tensor,
    (targets, z_loss): (&Arc<[u32]>, f64),
    precision: Precision,
) -> Result<Tensor> {
    let Some((hidden, targets)) = kept_rows(hidden, targets)? else {
        return zero_of(hidden)? + zero_of(weight)?;
    };
    let scored = score_rows(&hidden, weight, &targets, precision)?;
    let loss = scored.nats.sum_all()?;
    if z_loss == 0.0 {
        return Ok(loss);
    }
    loss + (scored.log_sum.sqr()?.sum_all()? * z_loss)?
}

/// Returns the rows of `hidden` that have a target, with these targets, or `None` if there are none. Rows without a
/// target are dropped before the product, so that even a NaN in them can't reach the loss.
pub(crate) fn kept_rows(hidden: &Tensor, targets: &[u32]) -> Result<Option<(Tensor, Vec<u32>)>> {
    let rows = (0..targets.len() as u32).zip(targets);
    let (kept, kept_targets): (Vec<u32>, Vec<u32>) =
        rows.filter(|(_, target)| **target != IGNORED).unzip();
    if kept.is_empty() {
        return Ok(None);
    }
    let hidden = if kept.len() == targets.len() {
        hidden.clone()
    } else {
        let kept = Tensor::from_slice(&kept, kept.len(), hidden.device())?;
        hidden.index_select(&kept, 0)?
    };
    Ok(Some((hidden, kept_targets)))
}

/// Returns a zero that depends on `x` in the graph, even if `x` contains NaN.
pub(crate) fn zero_of(x: &Tensor) -> Result<Tensor> {
    let nowhere = Tensor::zeros(x.shape(), DType::U8, x.device())?;
    nowhere.where_cond(x, &x.zeros_like()?)?.sum_all()
}

/// Logits of some rows and the scores of their targets.
struct Scored {
    /// Logits: (rows, vocabulary).
    logits: Tensor,
    /// −ln p(target), (rows, 1).
    nats: Tensor,
    /// ln Σ e^logit, (rows, 1).
    log_sum: Tensor,
}

/// Computes the logits and scores of the rows of `hidden` (rows, hidden).
fn score_rows(
    hidden: &Tensor,
    weight: &Tensor,
    targets: &[u32],
    precision: Precision,
) -> Result<Scored> {
    let logits = product(hidden, &weight.t()?, precision)?; // (rows, vocabulary)
    let largest = logits.max_keepdim(D::Minus1)?.detach();
    let shifted = logits.broadcast_sub(&largest)?;
    let log_sum = shifted.exp()?.sum_keepdim(D::Minus1)?.log()?; // (rows, 1)
    let targets = Tensor::from_slice(targets, (targets.len(), 1), hidden.device())?;
    let chosen = shifted.gather(&targets, D::Minus1)?; // (rows, 1)
    Ok(Scored {
        nats: (&log_sum - chosen)?,
        log_sum: (log_sum + largest)?,
        logits,
    })
}

/// Returns −ln p(target) of each token, and whether the target is the most likely token.
pub(crate) fn score(
    hidden: &Tensor,
    weight: &Tensor,
    targets: &Arc<[u32]>,
    precision: Precision,
) -> Result<Scores> {
    let (hidden, weight) = (hidden.detach(), weight.detach());
    let mut scores = Scores::default();
    for (chunk, targets) in targets.chunks(SCORED_ROWS).enumerate() {
        let hidden = hidden.narrow(0, chunk * SCORED_ROWS, targets.len())?;
        let safe: Vec<u32> = targets
            .iter()
            .map(|&target| if target == IGNORED { 0 } else { target })
            .collect();
        let Scored { nats, logits, .. } = score_rows(&hidden, &weight, &safe, precision)?;
        let nats = nats.flatten_all()?.to_dtype(DType::F32)?.to_vec1::<f32>()?;
        let likeliest = logits.argmax(D::Minus1)?.to_vec1::<u32>()?;
        for ((&target, nats), likeliest) in targets.iter().zip(nats).zip(likeliest) {
            let counts = target != IGNORED;
            scores.nats.push(if counts { nats } else { 0.0 });
            scores
                .correct
                .push(counts && !nats.is_nan() && likeliest == target);
        }
    }
    Ok(scores)
}
