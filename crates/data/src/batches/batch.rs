//! Batches of packed rows, and how a piece of a document is written into one.

use std::ops::Range;

use crate::IGNORED;
use crate::shards::shard::Document;

/// The size of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchShape {
    /// Rows.
    pub rows: usize,
    /// Tokens of a row.
    pub sequence_length: usize,
}

/// Rows of packed documents; the vectors of positions hold `rows × sequence_length` entries, row after row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Tokens that the model reads.
    pub input_ids: Vec<u32>,
    /// Tokens that it should predict, or [`IGNORED`].
    pub targets: Vec<u32>,
    /// Start of each position's document (or of its continuation) within the row.
    pub document_starts: Vec<u32>,
    /// Rows.
    pub rows: usize,
    /// Tokens of a row.
    pub sequence_length: usize,
    /// The part of the mixture that each row is of.
    pub domains: Vec<usize>,
}

impl Batch {
    /// A batch that rows can be pushed to.
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

    /// Positions that hold a token and not padding.
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

    /// Appends the tokens in `range` of a document as targets, each predicted from the token before it (the first of
    /// the document from `bos_token_id`), and no target where the mask or `scored_from` says so. The piece begins a
    /// document of its own in its row.
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

    /// Ends a row: what is left of it is padding, each position a document of its own that predicts nothing.
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
