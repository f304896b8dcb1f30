//! Gradients of one optimizer step, computed from the whole batch or part by part (gradient accumulation).

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
    /// Number of tokens that the sums run over: those with a target that is not ignored.
    pub scored: f64,
    /// Gradients of the summed loss and of the penalties, by parameter.
    pub gradients: BTreeMap<String, Tensor>,
}

/// Computes the loss, the penalties and the gradients of a batch that has targets. Computes `parts` groups of rows one
/// after the other and adds up their gradients (gradient accumulation). The penalties are multiplied by `strength`.
pub fn backward(
    objective: &impl Objective,
    batch: &Batch,
    parts: usize,
    strength: f64,
) -> Result<Backward, TrainError> {
    let mut loss = 0.0;
    let mut penalties: BTreeMap<String, f64> = BTreeMap::new();
    let mut gradients: BTreeMap<String, Tensor> = BTreeMap::new();
    let mut first_row = 0;
    for part in split(batch, parts) {
        objective.begin_part(first_row);
        first_row += part.rows;
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
    use std::cell::RefCell;

    use candle_core::{DType, Device, Var};

    use super::*;

    /// Objective that records the first row of each part of a batch.
    struct Told {
        weight: BTreeMap<String, Var>,
        rows: RefCell<Vec<usize>>,
    }

    impl Objective for Told {
        fn begin_part(&self, first_row: usize) {
            self.rows.borrow_mut().push(first_row);
        }

        fn loss(&self, _: &Batch) -> Result<Tensor, TrainError> {
            Ok(self.weight["w"].sum_all()?)
        }

        fn trainable(&self) -> &BTreeMap<String, Var> {
            &self.weight
        }
    }

    /// Checks that `begin_part` gets the index in the batch of each part's first row.
    #[test]
    fn every_part_is_told_its_first_row() {
        let weight = Var::ones(2, DType::F32, &Device::Cpu).unwrap();
        let told = Told {
            weight: BTreeMap::from([("w".to_owned(), weight)]),
            rows: RefCell::default(),
        };
        let batch = Batch {
            input_ids: vec![0; 7],
            targets: vec![0; 7],
            document_starts: vec![0; 7],
            rows: 7,
            domains: vec![0; 7],
        };
        let found = backward(&told, &batch, 3, 1.0).unwrap();
        assert_eq!(found.loss, 6.0);
        assert_eq!(*told.rows.borrow(), [0, 2, 4]);
    }

    /// Checks that the parts of a batch, joined, are the batch itself, and that no part is empty, even if the number of
    /// parts does not divide the number of rows.
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
