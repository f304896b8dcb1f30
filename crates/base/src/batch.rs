//! Batch of token rows: what data makes, a model reads and a loss scores.

/// Target value of a position without a loss: it is neither learned nor scored.
pub const IGNORED: u32 = u32::MAX;

/// Batch of packed documents. Each vector of positions has `rows × sequence length` elements in row-major order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Input token of each position.
    pub input_ids: Vec<u32>,
    /// Token that the model should predict at each position, or [`IGNORED`].
    pub targets: Vec<u32>,
    /// For each position: the index within its row at which its document starts. A continuation of a document cut by
    /// a row's end counts as a document of its own. Attention does not reach beyond this start.
    pub document_starts: Vec<u32>,
    /// Number of rows in the batch.
    pub rows: usize,
    /// For each row: the index of its domain in the mixture; 0 if there is one domain.
    pub domains: Vec<usize>,
}

impl Batch {
    /// Returns the number of tokens per row.
    pub fn sequence_length(&self) -> usize {
        self.input_ids.len().checked_div(self.rows).unwrap_or(0)
    }

    /// Returns the number of targets that are not ignored.
    pub fn scored_tokens(&self) -> usize {
        let scored = self.targets.iter().filter(|target| **target != IGNORED);
        scored.count()
    }

    /// Counts the positions that are not padding.
    pub fn tokens(&self) -> u64 {
        let length = self.sequence_length().max(1);
        let rows = self.document_starts.chunks(length);
        let targets = self.targets.chunks(length);
        let padding = |(starts, targets): (&[u32], &[u32])| {
            let alone = |at: usize| {
                let begins = |at: usize| starts.get(at).is_none_or(|start| *start as usize == at);
                begins(at) && begins(at + 1)
            };
            let padding = (0..starts.len()).filter(|at| targets[*at] == IGNORED && alone(*at));
            padding.count() as u64
        };
        self.input_ids.len() as u64 - rows.zip(targets).map(padding).sum::<u64>()
    }

    /// Returns true if a row of a fine-tuning batch is replayed, false if it is of the niche, which is domain 0.
    #[must_use]
    pub fn is_replayed(&self, row: usize) -> bool {
        self.domains[row] > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks the counts of a batch with a document that predicts nothing at its end, padding, and a replayed row.
    #[test]
    fn padding_is_not_counted() {
        let batch = Batch {
            input_ids: vec![0, 5, 6, 0, 0, 7, 0, 0],
            targets: vec![5, 6, IGNORED, IGNORED, 7, IGNORED, IGNORED, IGNORED],
            document_starts: vec![0, 0, 0, 3, 0, 0, 2, 3],
            rows: 2,
            domains: vec![0, 1],
        };
        assert_eq!(batch.sequence_length(), 4);
        assert_eq!(batch.scored_tokens(), 3);
        assert_eq!(batch.tokens(), 5);
        assert_eq!([0, 1].map(|row| batch.is_replayed(row)), [false, true]);
    }
}
