//! Gradients of one optimizer step, computed at once or in parts.

use std::collections::BTreeMap;

use candle_core::Tensor;
use polymath_data::{Batch, IGNORED};

use crate::{Objective, TrainError};

/// The sum of the batch's losses, its number of scored tokens, and the gradients of that sum, computed in `parts`.
pub fn backward(
    objective: &impl Objective,
    batch: &Batch,
    parts: usize,
) -> Result<(f64, f64, BTreeMap<String, Tensor>), TrainError> {
    let mut loss = 0.0;
    let mut gradients: BTreeMap<String, Tensor> = BTreeMap::new();
    for part in split(batch, parts) {
        let sum = objective.loss(&part)?;
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
        loss += f64::from(sum.to_scalar::<f32>()?);
    }
    let scored = batch
        .targets
        .iter()
        .filter(|target| **target != IGNORED)
        .count();
    Ok((loss, scored.max(1) as f64, gradients))
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
