//! One batch of packed token rows, as the model takes it.

use std::sync::Arc;

use candle_core::{Device, Tensor};
use polymath_ops::Segments;

use crate::ModelError;

/// Rows of packed documents; every vector holds `rows × sequence` entries, row after row.
#[derive(Debug, Clone)]
pub struct TokenBatch {
    /// What the model reads.
    pub input_ids: Vec<u32>,
    /// What it should predict at each position, or [`crate::IGNORED`].
    pub targets: Vec<u32>,
    /// Where, within its row, the document of each position begins; attention stops there.
    pub document_starts: Vec<u32>,
    /// How many rows.
    pub rows: usize,
}

/// A batch on the device, with what each layer needs of it computed once.
pub(crate) struct Prepared {
    /// `(batch, sequence)`
    pub input_ids: Tensor,
    pub targets: Arc<[u32]>,
    pub positions: Arc<[u32]>,
    pub segments: Segments,
}

impl TokenBatch {
    /// The length of each row.
    pub fn sequence_length(&self) -> usize {
        self.input_ids.len().checked_div(self.rows).unwrap_or(0)
    }

    /// How many targets count.
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
                "a batch of {rows} rows has {} inputs, {} targets and {} document starts: they must be equally many",
                self.input_ids.len(),
                self.targets.len(),
                self.document_starts.len()
            )));
        }
        // Positions restart with each document, as if it stood alone.
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
