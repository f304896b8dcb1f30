//! Rows of text without prompts: an endless stream of documents, cut every T tokens.
//!
//! The stream is a sequence of epochs, each a seeded permutation of the documents. Row *k* holds the stream's
//! positions *k·T … (k+1)·T*. A row belongs to the epoch of its first position; a row that reaches beyond the epoch's
//! end is filled with the beginning of the next epoch. Training goes through the rows of an epoch in a second seeded
//! permutation, so that the pieces of a long document are spread over the epoch. Rows are computed from their number:
//! there is no table of rows.

use std::sync::{Arc, Mutex, PoisonError};

use crate::TokenShard;
use crate::batches::batch::{BatchWriter, TargetRange};
use crate::draw::{PartDraws, permutation, permuted};

/// First of the random streams that order the rows within epochs; disjoint from the streams that order documents.
pub(crate) const ROW_STREAM: u64 = 1 << 62;
/// Number of cached epochs: a row across the border of two epochs needs both.
const KEPT: usize = 2;

/// Rows of one domain of a mixture, cut from its stream of tokens.
#[derive(Debug)]
pub(crate) struct Wrapped {
    shard: Arc<TokenShard>,
    /// Number of tokens per row.
    length: u64,
    seed: u64,
    /// Index of the domain in the mixture, shifted left by 48 bits: part of the random stream's number, so that
    /// domains draw independently.
    part: u64,
    /// Cached epochs, the most recently used last.
    epochs: Mutex<Vec<Arc<Epoch>>>,
}

/// One pass through the documents, in a seeded order.
#[derive(Debug)]
struct Epoch {
    number: u64,
    order: Vec<u32>,
    /// Start of each document in the epoch's stream of tokens, in the order of `order`.
    begins: Vec<u64>,
}

impl Wrapped {
    /// Creates the rows of `shard`, which must not be empty. `part` is the index of the domain in the mixture.
    pub fn new(shard: Arc<TokenShard>, length: usize, draws: PartDraws) -> Self {
        Self {
            shard,
            length: length as u64,
            seed: draws.seed,
            part: draws.stream(),
            epochs: Mutex::default(),
        }
    }

    /// Iterates over the rows of the first epoch that do not reach into the second. If the epoch is shorter than a
    /// row, returns that one row.
    pub fn whole_rows(&self) -> impl Iterator<Item = u64> + '_ {
        let tokens = self.shard.tokens();
        let (whole, all) = (tokens / self.length, tokens.div_ceil(self.length));
        (0..all).filter(move |ordinal| whole == 0 || self.row(*ordinal) < whole)
    }

    /// Appends the `ordinal`-th row of training to a batch.
    pub fn fill_row(&self, batch: &mut BatchWriter, ordinal: u64) {
        let tokens = self.shard.tokens();
        let mut position = self.row(ordinal) * self.length;
        let mut left = self.length as usize;
        while left > 0 {
            let epoch = self.epoch(position / tokens);
            let within_epoch = position % tokens;
            let at = epoch.begins.partition_point(|begin| *begin <= within_epoch) - 1;
            let document = self.shard.document(epoch.order[at] as usize);
            let from = (within_epoch - epoch.begins[at]) as usize;
            let to = document.len().min(from + left);
            let piece = TargetRange {
                tokens: from..to,
                scored_from: from,
            };
            batch.push_piece(document, piece);
            left -= to - from;
            position += (to - from) as u64;
        }
    }

    /// Returns the number of the stream's row that is trained on as the `ordinal`-th; both belong to the same epoch.
    fn row(&self, ordinal: u64) -> u64 {
        let tokens = self.shard.tokens();
        let epoch = ordinal * self.length / tokens;
        let first = (epoch * tokens).div_ceil(self.length);
        let end = ((epoch + 1) * tokens).div_ceil(self.length);
        let stream = ROW_STREAM | self.part | epoch;
        first + permuted(self.seed, stream, end - first, ordinal - first)
    }

    fn epoch(&self, number: u64) -> Arc<Epoch> {
        // A poisoned lock is harmless: an epoch is stored only when it is complete.
        let mut kept = self.epochs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = kept.iter().position(|epoch| epoch.number == number) {
            let epoch = kept.remove(at);
            kept.push(epoch.clone());
            return epoch;
        }
        let order = permutation(self.seed, self.part | number, self.shard.documents());
        let mut begin = 0;
        let begins = order
            .iter()
            .map(|document| {
                let at = begin;
                begin += self.shard.document(*document as usize).len() as u64;
                at
            })
            .collect();
        let epoch = Arc::new(Epoch {
            number,
            order,
            begins,
        });
        if kept.len() == KEPT {
            kept.remove(0);
        }
        kept.push(epoch.clone());
        epoch
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BatchShape, ShardWriter};

    /// Checks that memory depends on the number of documents only, not on the number of tokens, requested rows or
    /// epochs.
    #[test]
    fn memory_does_not_grow_with_rows() {
        let kept = |lengths: &[usize]| {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("train.safetensors");
            let mut writer = ShardWriter::create(&path, 9).unwrap();
            for &length in lengths {
                writer
                    .push(&vec![1; length], &vec![true; length], 1)
                    .unwrap();
            }
            writer.finish().unwrap();
            let shard = Arc::new(TokenShard::open(&path).unwrap());
            let rows = Wrapped::new(shard, 2, PartDraws { seed: 1, number: 0 });
            let shape = BatchShape {
                rows: 1,
                sequence_length: 2,
            };
            let mut batch = BatchWriter::new(shape, 0);
            for ordinal in (0..3000).chain([1 << 40, 3, (1 << 40) + 1]) {
                rows.fill_row(&mut batch, ordinal);
            }
            let kept = rows.epochs.lock().unwrap();
            let sizes = kept
                .iter()
                .map(|epoch| epoch.order.capacity() + epoch.begins.capacity());
            sizes.sum::<usize>()
        };
        assert_eq!(kept(&[500, 3, 20]), kept(&[500_000, 3, 20]));
        assert!(kept(&[500_000, 3, 20]) <= KEPT * 2 * 4);
    }
}
