//! Gradients of one optimizer step, computed at once or in parts (gradient accumulation).

use std::collections::BTreeMap;

use candle_core::Tensor;
use polymath_data::{Batch, IGNORED};

use crate::{Objective, TrainError};

/// Loss, penalties and gradients of one batch.
pub struct Backward {
    /// Sum of the token losses, in nats.
    pub loss: f64,
    /// Values of the terms added to the loss, by name, in the unit of the mean loss.
    pub penalties: BTreeMap<String, f64>,
    /// Number of tokens that the sums run over: those with a target.
    pub scored: f64,
    /// Gradients of the summed loss and of the penalties, by parameter.
    pub gradients: BTreeMap<String, Tensor>,
}

/// Computes the loss, the penalties and the gradients of a batch that has targets, in `parts` forward and backward
/// passes. `strength` is the factor of the penalties.
pub fn backward(
    objective: &impl Objective,
    batch: &Batch,
    parts: usize,
    strength: f64,
) -> Result<Backward, TrainError> {
    let mut loss = 0.0;
    let mut penalties: BTreeMap<String, f64> = BTreeMap::new();
    let mut gradients: BTreeMap<String, Tensor> = BTreeMap::new();
    for part in split(batch, parts) {
        let losses = objective.losses(&part, strength)?;
        for (name, term) in &losses.auxiliary {
            *penalties.entry((*name).to_owned()).or_default() +=
                f64::from(term.to_scalar::<f32>()?);
        }
        let mut found = losses.total.backward()?;
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
    let scored = scored as f64;
    penalties.values_mut().for_each(|sum| *sum /= scored);
    for penalty in objective.penalties() {
        // The gradients are those of sums over tokens, while a penalty is added to the mean loss. Hence the factor
        // `scored`.
        let value = penalty.add(objective.trainable(), &mut gradients, scored * strength)?;
        penalties.insert(penalty.name().to_owned(), strength * value);
    }
    Ok(Backward {
        loss,
        penalties,
        scored,
        gradients,
    })
}

/// Splits the rows of a batch into `parts` batches of nearly equal size. The number of rows need not be a multiple of
/// `parts`, since replayed rows may have been added to the batch.
fn split(batch: &Batch, parts: usize) -> Vec<Batch> {
    if parts == 1 {
        return vec![batch.clone()];
    }
    let parts = parts.min(batch.rows);
    (0..parts)
        .map(|part| {
            let rows = batch.rows * part / parts..batch.rows * (part + 1) / parts;
            let length = batch.sequence_length();
            let tokens = rows.start * length..rows.end * length;
            Batch {
                input_ids: batch.input_ids[tokens.clone()].to_vec(),
                targets: batch.targets[tokens.clone()].to_vec(),
                document_starts: batch.document_starts[tokens].to_vec(),
                rows: rows.len(),
                domains: batch.domains[rows].to_vec(),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that the parts joined are the original batch, and that none is empty, even if the number of parts does
    /// not divide the rows.
    #[test]
    fn parts_join_to_the_whole_batch() {
        let tokens: Vec<u32> = (0..14).collect();
        let batch = Batch {
            input_ids: tokens.clone(),
            targets: tokens.clone(),
            document_starts: tokens.clone(),
            rows: 7,
            domains: (0..7).collect(),
        };
        for parts in [1, 2, 3, 7, 9] {
            let split = split(&batch, parts);
            assert_eq!(split.len(), parts.min(7));
            assert!(
                split
                    .iter()
                    .all(|part| part.rows > 0 && part.rows == part.domains.len())
            );
            let joined: Vec<u32> = split.iter().flat_map(|part| part.targets.clone()).collect();
            assert_eq!(joined, tokens);
        }
    }
}
