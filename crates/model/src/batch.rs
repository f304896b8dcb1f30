//! A batch of packed token rows.

use std::sync::Arc;

use candle_core::{Device, Tensor};
use polymath_ops::Segments;

use crate::ModelError;

/// Rows of packed documents. Every vector has `rows × sequence` entries in row-major order.
#[derive(Debug, Clone)]
pub struct TokenBatch {
    /// Input tokens.
    pub input_ids: Vec<u32>,
    /// Target token of each position, or [`crate::IGNORED`].
    pub targets: Vec<u32>,
    /// Start of each position's document within its row; attention does not cross it.
    pub document_starts: Vec<u32>,
    /// Number of rows.
    pub rows: usize,
}

/// Batch on the device, with what all layers share computed once.
pub(crate) struct Prepared {
    /// Input tokens: `(batch, sequence)`.
    pub input_ids: Tensor,
    pub targets: Arc<[u32]>,
    pub positions: Arc<[u32]>,
    pub segments: Segments,
}

impl TokenBatch {
    /// Returns the length of each row.
    pub fn sequence_length(&self) -> usize {
        self.input_ids.len().checked_div(self.rows).unwrap_or(0)
    }

    /// Returns the number of targets that count.
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
        // Positions restart at each document, as if it stood alone.
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
