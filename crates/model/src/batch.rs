//! A batch of packed token rows.

use std::sync::Arc;

use candle_core::{Device, Tensor};
use polymath_ops::Segments;

use crate::ModelError;

/// Batch of packed documents. Each vector has `rows × sequence` elements in row-major order.
#[derive(Debug, Clone)]
pub struct TokenBatch {
    /// Input token of each position.
    pub input_ids: Vec<u32>,
    /// Target token of each position, or [`crate::IGNORED`] for no loss.
    pub targets: Vec<u32>,
    /// Index within its row of the start of each position's document; attention does not reach beyond it.
    pub document_starts: Vec<u32>,
    /// Number of rows in the batch.
    pub rows: usize,
}

/// A batch on the device, with values that all layers share.
pub(crate) struct Prepared {
    /// Input tokens: `(batch, sequence)`.
    pub input_ids: Tensor,
    pub targets: Arc<[u32]>,
    pub positions: Arc<[u32]>,
    pub segments: Segments,
}

impl TokenBatch {
    /// Returns the number of tokens per row.
    pub fn sequence_length(&self) -> usize {
        self.input_ids.len().checked_div(self.rows).unwrap_or(0)
    }

    /// Returns the number of targets that are not ignored.
    pub fn scored_tokens(&self) -> usize {
        self.targets
            .iter()
            .filter(|target| **target != crate::IGNORED)
            .count()
    }

    pub(crate) fn prepare(&self, device: &Device) -> Result<Prepared, ModelError> {
        let (rows, sequence) = (self.rows, self.sequence_length());
        let total = rows * sequence;
        if self.input_ids.len() != total
            || self.targets.len() != total
            || self.document_starts.len() != total
        {
            return Err(ModelError::Input(format!(
                "a batch of {rows} rows has {} inputs, {} targets and {} document starts: the three numbers must be \
                 equal",
                self.input_ids.len(),
                self.targets.len(),
                self.document_starts.len()
            )));
        }
        // Positions restart at each document, as if it were alone.
        let positions: Arc<[u32]> = self
            .document_starts
            .iter()
            .enumerate()
            .map(|(at, start)| ((at % sequence) as u32).saturating_sub(*start))
            .collect();
        Ok(Prepared {
            input_ids: Tensor::from_slice(&self.input_ids, (rows, sequence), device)?,
            targets: self.targets.as_slice().into(),
            positions,
            segments: Segments::new(rows, sequence, self.document_starts.as_slice().into())?,
        })
    }
}
