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

/// The loss of a batch that has targets and the penalties with their gradients, the batch computed in `parts`.
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
        for (name, term) in &losses.beside {
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

/// The rows of a batch in `parts` batches, as equal as they can be: a batch with replayed rows beside the niche's has any
/// number of them.
fn split(batch: &Batch, parts: usize) -> Vec<Batch> {
    if parts == 1 {
        return vec![batch.clone()];
    }
    let parts = parts.min(batch.rows);
    (0..parts)
        .map(|part| {
            let rows = batch.rows * part / parts..batch.rows * (part + 1) / parts;
            let tokens = rows.start * batch.sequence_length..rows.end * batch.sequence_length;
            Batch {
                input_ids: batch.input_ids[tokens.clone()].to_vec(),
                targets: batch.targets[tokens.clone()].to_vec(),
                document_starts: batch.document_starts[tokens].to_vec(),
                rows: rows.len(),
                sequence_length: batch.sequence_length,
                domains: batch.domains[rows].to_vec(),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Together the parts are the batch, none of them empty, whether or not their number divides the rows.
    #[test]
    fn parts_are_the_batch() {
        let tokens: Vec<u32> = (0..14).collect();
        let batch = Batch {
            input_ids: tokens.clone(),
            targets: tokens.clone(),
            document_starts: tokens.clone(),
            rows: 7,
            sequence_length: 2,
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
