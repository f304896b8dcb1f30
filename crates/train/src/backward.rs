//! Gradients of one optimizer step, computed at once or in parts.

use std::collections::BTreeMap;

use candle_core::Tensor;
use polymath_data::{Batch, IGNORED};

use crate::{Objective, TrainError};

/// What one step's batch costs, and where that falls.
pub struct Backward {
    /// The sum of the tokens' losses.
    pub loss: f64,
    /// What is minimised beside it, in the unit of the mean loss.
    pub penalties: BTreeMap<String, f64>,
    /// Tokens that the sums are over.
    pub scored: f64,
    /// Of all together, as sums over the tokens.
    pub gradients: BTreeMap<String, Tensor>,
}

/// The batch's loss and the penalties with their gradients, the batch computed in `parts`.
pub fn backward(
    objective: &impl Objective,
    batch: &Batch,
    parts: usize,
) -> Result<Backward, TrainError> {
    let mut loss = 0.0;
    let mut penalties: BTreeMap<String, f64> = BTreeMap::new();
    let mut gradients: BTreeMap<String, Tensor> = BTreeMap::new();
    for part in split(batch, parts) {
        let losses = objective.losses(&part)?;
        let mut sum = losses.task.clone();
        for (name, term) in &losses.beside {
            sum = (sum + term)?;
            *penalties.entry((*name).to_owned()).or_default() +=
                f64::from(term.to_scalar::<f32>()?);
        }
        let mut found = sum.backward()?;
        for (name, parameter) in objective.trainable() {
            let Some(gradient) = found.remove(parameter) else {
                continue;
            };
            let total = match gradients.remove(name) {
                Some(before) => (before + gradient)?,
                None => gradient,
            };
            gradients.insert(name.clone(), total);
        }
        loss += f64::from(losses.task.to_scalar::<f32>()?);
    }
    let scored = batch
        .targets
        .iter()
        .filter(|target| **target != IGNORED)
        .count();
    let scored = scored.max(1) as f64;
    penalties.values_mut().for_each(|sum| *sum /= scored);
    for penalty in objective.penalties() {
        // The gradients are of sums over tokens, a penalty stands beside their mean.
        let value = penalty.add(objective.trainable(), &mut gradients, scored)?;
        penalties.insert(penalty.name().to_owned(), value);
    }
    Ok(Backward {
        loss,
        penalties,
        scored,
        gradients,
    })
}

/// The rows of a batch in `parts` equal batches.
fn split(batch: &Batch, parts: usize) -> Vec<Batch> {
    if parts == 1 {
        return vec![batch.clone()];
    }
    let rows = batch.rows / parts;
    let tokens = rows * batch.sequence_length;
    (0..parts)
        .map(|part| {
            let range = part * tokens..(part + 1) * tokens;
            Batch {
                input_ids: batch.input_ids[range.clone()].to_vec(),
                targets: batch.targets[range.clone()].to_vec(),
                document_starts: batch.document_starts[range].to_vec(),
                rows,
                sequence_length: batch.sequence_length,
                domains: batch.domains[part * rows..(part + 1) * rows].to_vec(),
            }
        })
        .collect()
}
