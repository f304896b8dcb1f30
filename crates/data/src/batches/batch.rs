//! Batches of packed rows, and the functions that append a piece of a document to a row.

use std::ops::Range;

use crate::IGNORED;
use crate::shards::shard::Document;

/// Size of a batch: rows × tokens per row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchShape {
    /// Number of rows.
    pub rows: usize,
    /// Tokens per row.
    pub sequence_length: usize,
}

/// A training batch of packed rows. The vectors `input_ids`, `targets` and `document_starts` have `rows ×
/// sequence_length` entries, row after row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Input token at each position.
    pub input_ids: Vec<u32>,
    /// Token that the model should predict at each position, or [`IGNORED`] where there is no loss.
    pub targets: Vec<u32>,
    /// For each position: the index within its row at which its document starts. A continuation of a document cut by
    /// a row's end counts as a document of its own. Attention does not reach beyond this start.
    pub document_starts: Vec<u32>,
    /// Number of rows.
    pub rows: usize,
    /// Tokens per row.
    pub sequence_length: usize,
    /// For each row: the index of its domain in the mixture.
    pub domains: Vec<usize>,
}

impl Batch {
    /// Creates an empty batch with room for the rows of `shape`.
    pub(crate) fn with_capacity(shape: BatchShape) -> Self {
        let tokens = shape.rows * shape.sequence_length;
        Self {
            input_ids: Vec::with_capacity(tokens),
            targets: Vec::with_capacity(tokens),
            document_starts: Vec::with_capacity(tokens),
            rows: shape.rows,
            sequence_length: shape.sequence_length,
            domains: Vec::with_capacity(shape.rows),
        }
    }

    /// Counts the positions that are not padding.
    pub fn tokens(&self) -> u64 {
        let rows = self.document_starts.chunks(self.sequence_length.max(1));
        let targets = self.targets.chunks(self.sequence_length.max(1));
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

    /// Appends the tokens in `range` of a document to the current row as targets. The input of each target is the
    /// token before it; the input of a document's first token is `bos_token_id`. Targets outside of the loss mask or
    /// before index `scored_from` are [`IGNORED`]. Attention treats the piece as a document of its own.
    pub(crate) fn push_piece(
        &mut self,
        document: Document<'_>,
        range: Range<usize>,
        scored_from: usize,
        bos_token_id: u32,
    ) {
        let Range {
            start: from,
            end: to,
        } = range;
        let begin = (self.document_starts.len() % self.sequence_length) as u32;
        if from == 0 {
            self.input_ids.push(bos_token_id);
        }
        document.copy_tokens(from.saturating_sub(1)..to - 1, &mut self.input_ids);
        let targets = self.targets.len();
        document.copy_tokens(from..to, &mut self.targets);
        let targets = &mut self.targets[targets..];
        for (target, mark) in targets
            .iter_mut()
            .zip(document.marks(from..to).unwrap_or(&[]))
        {
            if *mark == 0 {
                *target = IGNORED;
            }
        }
        targets[..scored_from.clamp(from, to) - from].fill(IGNORED);
        self.document_starts
            .extend(std::iter::repeat_n(begin, to - from));
    }

    /// Ends the current row as one of domain `part`. Fills the rest of it with padding: each padding position is a
    /// document of its own, without a target.
    pub(crate) fn end_row(&mut self, part: usize, bos_token_id: u32) {
        self.domains.push(part);
        let end = self.domains.len() * self.sequence_length;
        while self.input_ids.len() < end {
            let at = self.input_ids.len() % self.sequence_length;
            self.input_ids.push(bos_token_id);
            self.targets.push(IGNORED);
            self.document_starts.push(at as u32);
        }
    }
}
