//! Output projection and cross-entropy from Candle's operations, for some rows at a time: for what has no kernel.

use std::sync::Arc;

use candle_core::{D, Result, Tensor};
use candle_nn::ops::softmax_last_dim;

use super::composed::{factor, product};
use crate::Precision;
use crate::computed::with_derivatives;
use crate::reference::{kept_rows, zero_of};

/// Rows of logits in memory at a time.
const ROWS: usize = 1024;

/// Σ −ln softmax(logits)[target] + z_loss·(ln Σ e^logit)² over the targets that count, logits = hidden·weightᵀ.
///
/// The gradients are computed along with the loss, while the logits are there.
pub(crate) fn cross_entropy(
    hidden: &Tensor,
    weight: &Tensor,
    (targets, z_loss): (&Arc<[u32]>, f64),
    precision: Precision,
) -> Result<Tensor> {
    let Some((hidden, targets)) = kept_rows(hidden, targets)? else {
        return zero_of(hidden)? + zero_of(weight)?;
    };
    let still = factor(&weight.detach(), precision)?;
    let mut loss = Tensor::zeros((), hidden.dtype(), hidden.device())?;
    let mut of_hidden = Vec::new();
    let mut of_weight = None;
    for (chunk, targets) in targets.chunks(ROWS).enumerate() {
        let part = hidden.detach().narrow(0, chunk * ROWS, targets.len())?;
        let part = factor(&part, precision)?;
        let logits = product(&part, &still.t()?, &hidden)?; // (rows, vocabulary)
        let (nats, gradient) = score(&logits, targets, z_loss)?;
        loss = (loss + nats)?;
        let gradient = factor(&gradient, precision)?;
        if hidden.track_op() {
            of_hidden.push(product(&gradient, &still, &hidden)?);
        }
        if weight.track_op() {
            let more = product(&gradient.t()?, &part, &hidden)?;
            of_weight = Some(match of_weight {
                Some(sum) => (sum + more)?,
                None => more,
            });
        }
    }
    let mut derivatives = Vec::new();
    if !of_hidden.is_empty() {
        derivatives.push((&hidden, Tensor::cat(&of_hidden, 0)?));
    }
    derivatives.extend(of_weight.map(|of_weight| (weight, of_weight)));
    with_derivatives(loss, &derivatives)
}

/// The loss of some rows of logits, summed, and its gradient by the logits.
fn score(logits: &Tensor, targets: &[u32], z_loss: f64) -> Result<(Tensor, Tensor)> {
    let p = softmax_last_dim(logits)?;
    let targets = Tensor::from_slice(targets, (targets.len(), 1), logits.device())?;
    // ln Σ e^x = x − ln p, most exactly where p is largest.
    let largest = logits.max_keepdim(D::Minus1)?;
    let log_sum = (largest - p.max_keepdim(D::Minus1)?.log()?)?; // (rows, 1)
    let chosen = logits.gather(&targets, D::Minus1)?;
    let mut loss = (&log_sum - chosen)?.sum_all()?;
    let less = targets.ones_like()?.to_dtype(p.dtype())?.neg()?;
    if z_loss == 0.0 {
        return Ok((loss, p.scatter_add(&targets, &less, D::Minus1)?));
    }
    loss = (loss + (log_sum.sqr()?.sum_all()? * z_loss)?)?;
    let gradient = p.broadcast_mul(&((log_sum * (2.0 * z_loss))? + 1.0)?)?;
    Ok((loss, gradient.scatter_add(&targets, &less, D::Minus1)?))
}
