//! Rows of examples with prompts, by best-fit packing ([Ding et al. 2024](https://arxiv.org/abs/2404.10830)): an
//! example that fits into a row is never cut.
//!
//! Each epoch has a plan. It takes the pieces of all examples, longest first and in a seeded order among pieces of
//! equal length, and puts each into the row that it leaves the least room in. The rest of a row is padding. Training
//! goes through the rows of an epoch in a seeded permutation. A plan's memory is proportional to the number of
//! pieces, not of tokens.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::batches::batch::{BatchWriter, TargetRange};
use crate::batches::cuts::{Piece, cut};
use crate::batches::wrapped::ROW_STREAM;
use crate::draw::{PartDraws, permutation, permuted};
use crate::{Packing, TokenShard};

/// Packed rows of one domain of a mixture, whose shard has a loss mask.
#[derive(Debug)]
pub(crate) struct Packed {
    shard: Arc<TokenShard>,
    length: usize,
    seed: u64,
    /// Index of the domain in the mixture, shifted left by 48 bits: part of the random stream's number, so that
    /// domains draw independently.
    part: u64,
    pieces: Vec<Piece>,
    packing: Packing,
    /// Plan of the most recently requested epoch.
    plan: Mutex<Option<Arc<Plan>>>,
}

/// Packing plan of an epoch: which pieces of documents are in which row.
#[derive(Debug)]
struct Plan {
    epoch: u64,
    /// Indices of the pieces (into `Packed::pieces`), row after row.
    order: Vec<u32>,
    /// Start of each row in `order`, followed by the length of `order`.
    begins: Vec<u32>,
}

impl Packed {
    /// Packs the documents of `shard` into rows of `length` tokens. `part` is the index of the domain in the mixture.
    pub fn new(shard: Arc<TokenShard>, length: usize, draws: PartDraws) -> Self {
        let (pieces, packing) = pack(&shard, length);
        Self {
            shard,
            length,
            seed: draws.seed,
            part: draws.stream(),
            pieces,
            packing,
            plan: Mutex::new(None),
        }
    }

    /// Returns the counts of whole, cut and dropped examples.
    pub fn packing(&self) -> &Packing {
        &self.packing
    }

    /// Returns the share of positions that are not padding.
    pub fn fill(&self) -> f64 {
        let positions = self.packing.rows * self.length as u64;
        self.packing.tokens as f64 / positions as f64
    }

    /// Appends the `ordinal`-th row of training to a batch, without the padding at its end.
    pub fn fill_row(&self, batch: &mut BatchWriter, ordinal: u64) {
        let (epoch, within_epoch) = (ordinal / self.packing.rows, ordinal % self.packing.rows);
        let plan = self.plan(epoch);
        let stream = ROW_STREAM | self.part | epoch;
        let row = permuted(self.seed, stream, self.packing.rows, within_epoch) as usize;
        for at in plan.begins[row]..plan.begins[row + 1] {
            let piece = self.pieces[plan.order[at as usize] as usize];
            let document = self.shard.document(piece.document as usize);
            let piece = TargetRange {
                tokens: piece.from as usize..piece.to as usize,
                scored_from: piece.scored_from as usize,
            };
            batch.push_piece(document, piece);
        }
    }

    fn plan(&self, epoch: u64) -> Arc<Plan> {
        // A poisoned lock is harmless: a plan is stored only when it is complete.
        let mut kept = self.plan.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(plan) = kept.as_ref().filter(|plan| plan.epoch == epoch) {
            return plan.clone();
        }
        let drawn = permutation(self.seed, self.part | epoch, self.pieces.len());
        let mut ordered = drawn;
        // The sort is stable: pieces of equal length keep their random order.
        ordered.sort_by_key(|piece| std::cmp::Reverse(self.pieces[*piece as usize].len()));
        let lengths = ordered
            .iter()
            .map(|piece| self.pieces[*piece as usize].len());
        let (row_of, rows) = best_fit(lengths, self.length);
        let plan = Arc::new(Plan::new(epoch, &ordered, &row_of, rows));
        *kept = Some(plan.clone());
        plan
    }
}

impl Plan {
    /// Creates the plan that puts the piece `ordered[i]` into the row `row_of[i]`.
    fn new(epoch: u64, ordered: &[u32], row_of: &[u32], rows: usize) -> Self {
        let mut begins = vec![0; rows + 1];
        for row in row_of {
            begins[*row as usize + 1] += 1;
        }
        for row in 0..rows {
            begins[row + 1] += begins[row];
        }
        let mut next = begins.clone();
        let mut order = vec![0; ordered.len()];
        for (piece, row) in ordered.iter().zip(row_of) {
            order[next[*row as usize] as usize] = *piece;
            next[*row as usize] += 1;
        }
        Self {
            epoch,
            order,
            begins,
        }
    }
}

/// Cuts the examples of a shard for rows of `length` tokens; returns the pieces and their statistics.
pub(crate) fn pack(shard: &TokenShard, length: usize) -> (Vec<Piece>, Packing) {
    let mut packing = Packing {
        sequence_length: length,
        ..Packing::default()
    };
    let mut pieces = Vec::new();
    for index in 0..shard.documents() {
        let found = cut(shard.document(index), index as u32, length, &mut pieces);
        packing.add(found);
    }
    let mut lengths: Vec<usize> = pieces.iter().map(|piece| piece.len()).collect();
    lengths.sort_unstable_by(|a, b| b.cmp(a));
    packing.tokens = lengths.iter().map(|length| *length as u64).sum();
    // The number of rows depends on the lengths alone, so it is the same in every epoch.
    packing.rows = best_fit(lengths.into_iter(), length).1 as u64;
    (pieces, packing)
}

/// Packs by best fit: puts each length into the row that it leaves the least room in. The lengths must descend and be
/// at most `room`, the tokens per row. Returns the row of each length and the number of rows.
fn best_fit(lengths: impl Iterator<Item = usize>, room: usize) -> (Vec<u32>, usize) {
    let mut row_of = Vec::new();
    let mut rows = 0;
    // Open rows by the room left in each.
    let mut open: BTreeMap<usize, Vec<u32>> = BTreeMap::new();
    for length in lengths {
        let (left, row) = match open.range_mut(length..).next() {
            Some((&left, waiting)) => {
                let row = waiting.pop().expect("no entry is left empty");
                if waiting.is_empty() {
                    open.remove(&left);
                }
                (left, row)
            }
            None => {
                rows += 1;
                (room, rows - 1)
            }
        };
        row_of.push(row);
        if left > length {
            open.entry(left - length).or_default().push(row);
        }
    }
    (row_of, rows as usize)
}
