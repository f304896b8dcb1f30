//! Distillation loss from Candle's operations.
//!
//! Candle's graph would keep the logits of all rows for the backward pass. Instead, the gradients, which have a
//! closed form, are computed together with the loss, a few rows at a time.

use candle_core::{D, Result, Tensor};

use crate::Precision;
use crate::computed::with_derivatives;
use crate::reference::product;
use crate::teacher::{Teacher, TopK};

/// Number of rows of logits that are in memory at a time.
const ROWS: usize = 512;

/// Computes T²·Σ KL(teacher ‖ student).
pub(crate) fn distillation(
    (hidden, weight): (&Tensor, &Tensor),
    teacher: &Teacher,
    temperature: f64,
    precision: Precision,
) -> Result<Tensor> {
    let (tokens, _) = hidden.dims2()?;
    let mut total = Tensor::zeros((), hidden.dtype(), hidden.device())?;
    let mut hidden_gradients = Vec::new();
    let mut weight_gradient = weight.zeros_like()?;
    let still = weight.detach();
    for start in (0..tokens).step_by(ROWS) {
        let rows = ROWS.min(tokens - start);
        let part = hidden.detach().narrow(0, start, rows)?;
        let logits = (product(&part, &still.t()?, precision)? / temperature)?; // (rows, vocabulary)
        let student = log_softmax(&logits)?;
        let (nats, gradient) = match teacher {
            Teacher::Live { hidden, weight } => {
                let part = hidden.detach().narrow(0, start, rows)?;
                let part = part.to_dtype(logits.dtype())?;
                let weight = weight.detach().to_dtype(logits.dtype())?;
                let logits = (product(&part, &weight.t()?, precision)? / temperature)?;
                live(&student, &log_softmax(&logits)?)?
            }
            Teacher::TopK(top) => listed(&student, &top.narrow(start, rows))?,
        };
        let gradient = (gradient * temperature)?;
        total = (total + nats)?;
        hidden_gradients.push(product(&gradient, &still, precision)?);
        weight_gradient =
            (weight_gradient + product(&gradient.t()?.contiguous()?, &part, precision)?)?;
    }
    let mut derivatives = vec![(weight, weight_gradient)];
    if !hidden_gradients.is_empty() {
        derivatives.push((hidden, Tensor::cat(&hidden_gradients, 0)?));
    }
    let value = (total.detach() * (temperature * temperature))?;
    with_derivatives(value, &derivatives)
}

/// Returns ln softmax over the last dimension.
fn log_softmax(logits: &Tensor) -> Result<Tensor> {
    let shifted = logits.broadcast_sub(&logits.max_keepdim(D::Minus1)?)?;
    let log_sum = shifted.exp()?.sum_keepdim(D::Minus1)?.log()?; // (rows, 1)
    shifted.broadcast_sub(&log_sum)
}

/// Returns Σ KL(teacher ‖ student) of log-probabilities, and its gradient q − p for the student's logits.
fn live(student: &Tensor, teacher: &Tensor) -> Result<(Tensor, Tensor)> {
    let p = teacher.exp()?;
    let nats = (&p * (teacher - student)?)?.sum_all()?;
    Ok((nats, (student.exp()? - p)?))
}

/// Returns the same as [`live`] for a teacher's top k tokens; all other tokens count as one event.
fn listed(student: &Tensor, top: &TopK) -> Result<(Tensor, Tensor)> {
    let (device, dtype, rows) = (student.device(), student.dtype(), top.tokens());
    let ids = Tensor::from_slice(&top.ids, (rows, top.k), device)?;
    let p = Tensor::from_slice(&top.probabilities, (rows, top.k), device)?.to_dtype(dtype)?;
    let rest = Tensor::from_slice(&top.rest, (rows, 1), device)?.to_dtype(dtype)?;
    let q = student.exp()?; // (rows, vocabulary)
    let nowhere = q.zeros_like()?;
    let others = (1.0 - nowhere.scatter_add(&ids, &p.ones_like()?, 1)?)?; // 0 for what is listed
    let mass = (&q * &others)?.sum_keepdim(D::Minus1)?.maximum(1e-30)?; // (rows, 1)
    // The teacher's remaining probability is spread over the other tokens in proportion to the student's.
    let spread = (&q * &others)?.broadcast_mul(&(&rest / &mass)?)?;
    let gradient = (&q - (nowhere.scatter_add(&ids, &p, 1)? + spread)?)?;
    let entropy = |p: f32| {
        if p > 0.0 {
            f64::from(p) * f64::from(p).ln()
        } else {
            0.0
        }
    };
    let own: f64 = top
        .probabilities
        .iter()
        .chain(top.rest.iter())
        .map(|p| entropy(*p))
        .sum();
    let cross = (&p * student.gather(&ids, 1)?)?.sum_all()?;
    let cross = (cross + (&rest * mass.log()?)?.sum_all()?)?;
    Ok(((cross.neg()? + own)?, gradient))
}
