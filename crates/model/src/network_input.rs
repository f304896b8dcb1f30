//! Input of the network: tokens of a batch and their packing.

use std::sync::Arc;

use candle_core::{Device, Tensor};
use polymath_ops::Segments;

use crate::{Batch, ModelError};

/// Tokens of a batch, with their positions and attention segments, which all layers share.
pub(crate) struct NetworkInput {
    /// Input token IDs, on the CPU: `(batch, sequence)`.
    pub input_ids: Tensor,
    pub positions: Arc<[u32]>,
    pub segments: Segments,
}

impl NetworkInput {
    /// Returns the input of rows of one document each, which continues the tokens that are in the cache: `tokens` are
    /// the next ones of all rows, row by row, and begin at `position` of each.
    pub fn continuing(tokens: &[u32], rows: usize, position: usize) -> Result<Self, ModelError> {
        let length = tokens.len() / rows;
        let of_row = position as u32..(position + length) as u32;
        Ok(Self {
            input_ids: Tensor::from_slice(tokens, (rows, length), &Device::Cpu)?,
            positions: (0..rows).flat_map(|_| of_row.clone()).collect(),
            segments: Segments::causal(rows, length, position + length),
        })
    }

    /// Converts a batch of the data crate to the network's input.
    pub fn new(batch: &Batch) -> Result<Self, ModelError> {
        let (rows, sequence) = (batch.rows, batch.sequence_length());
        let total = rows * sequence;
        if batch.input_ids.len() != total
            || batch.targets.len() != total
            || batch.document_starts.len() != total
        {
            return Err(ModelError::Input(format!(
                "a batch of {rows} rows has {} inputs, {} targets and {} document starts: the three numbers must be \
                 equal",
                batch.input_ids.len(),
                batch.targets.len(),
                batch.document_starts.len()
            )));
        }
        // Positions restart at each document, as if it were alone.
        let positions: Arc<[u32]> = batch
            .document_starts
            .iter()
            .enumerate()
            .map(|(at, start)| ((at % sequence) as u32).saturating_sub(*start))
            .collect();
        Ok(Self {
            input_ids: Tensor::from_slice(&batch.input_ids, (rows, sequence), &Device::Cpu)?,
            positions,
            segments: Segments::new(rows, sequence, batch.document_starts.as_slice().into())?,
        })
    }
}
