//! Writer that fills the rows of a training batch with pieces of documents.

use std::ops::Range;

use crate::shards::shard::Document;
use crate::{Batch, IGNORED};

/// Size of a batch: rows × tokens per row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchShape {
    /// Number of rows.
    pub rows: usize,
    /// Number of tokens per row.
    pub sequence_length: usize,
}

/// Piece of a document whose tokens become targets (tokens to predict).
#[derive(Debug, Clone)]
pub(crate) struct TargetRange {
    /// Range of token indices in the document.
    pub tokens: Range<usize>,
    /// Index of the first token in the document that is a target; earlier tokens of the range are context only.
    pub scored_from: usize,
}

/// Training batch under construction: pieces of documents are appended row by row.
#[derive(Debug)]
pub(crate) struct BatchWriter {
    batch: Batch,
    sequence_length: usize,
    bos_token_id: u32,
}

impl BatchWriter {
    /// Begins a batch with room for the rows of `shape`, whose documents begin with `bos_token_id`.
    pub fn new(shape: BatchShape, bos_token_id: u32) -> Self {
        let tokens = shape.rows * shape.sequence_length;
        Self {
            batch: Batch {
                input_ids: Vec::with_capacity(tokens),
                targets: Vec::with_capacity(tokens),
                document_starts: Vec::with_capacity(tokens),
                rows: 0,
                domains: Vec::with_capacity(shape.rows),
            },
            sequence_length: shape.sequence_length,
            bos_token_id,
        }
    }

    /// Appends a piece of a document to the current row as targets, and returns these. The input of each target is the
    /// token before it; the input of a document's first token is the begin token. Targets outside of the loss mask or
    /// before index `scored_from` are [`IGNORED`]. Attention treats the piece as a document of its own.
    pub fn push_piece(&mut self, document: Document<'_>, piece: TargetRange) -> &[u32] {
        let Range {
            start: from,
            end: to,
        } = piece.tokens;
        let Batch {
            input_ids,
            targets,
            document_starts,
            ..
        } = &mut self.batch;
        let begin = (document_starts.len() % self.sequence_length) as u32;
        if from == 0 {
            input_ids.push(self.bos_token_id);
        }
        document.copy_tokens(from.saturating_sub(1)..to - 1, input_ids);
        let before = targets.len();
        document.copy_tokens(from..to, targets);
        let targets = &mut targets[before..];
        for (target, mark) in targets
            .iter_mut()
            .zip(document.marks(from..to).unwrap_or(&[]))
        {
            if *mark == 0 {
                *target = IGNORED;
            }
        }
        targets[..piece.scored_from.clamp(from, to) - from].fill(IGNORED);
        document_starts.extend(std::iter::repeat_n(begin, to - from));
        targets
    }

    /// Ends the current row as one of domain `part`. Fills the rest of it with padding: each padding position is a
    /// document of its own, without a target.
    pub fn end_row(&mut self, part: usize) {
        let batch = &mut self.batch;
        batch.domains.push(part);
        batch.rows += 1;
        let end = batch.rows * self.sequence_length;
        while batch.input_ids.len() < end {
            let at = batch.input_ids.len() % self.sequence_length;
            batch.input_ids.push(self.bos_token_id);
            batch.targets.push(IGNORED);
            batch.document_starts.push(at as u32);
        }
    }

    /// Returns the batch of the rows that were ended.
    pub fn finish(self) -> Batch {
        self.batch
    }
}
