//! Batches that score every stored token of a shard exactly once.

use crate::draw::permutation;
use crate::{Batch, BatchShape, HeldoutSplit, IGNORED, TokenShard};

/// Unfinished rows that wait for a short piece to fill them.
const OPEN_ROWS: usize = 32;
/// The stream of random numbers that chooses documents.
const CHOICE_STREAM: u64 = 1 << 41;

/// Options of cutting and packing held-out documents.
#[derive(Debug, Clone, Copy)]
pub struct ScoringOptions {
    /// Rows of a batch.
    pub rows: usize,
    /// Tokens of a row: the context of a score.
    pub sequence_length: usize,
    /// Tokens between the starts of a long document's windows; `None`: windows do not overlap.
    pub stride: Option<usize>,
    /// Token that every document begins with.
    pub bos_token_id: u32,
    /// Score whole documents in a seeded order, up to the first that does not fit so many tokens; at least one.
    pub max_tokens: Option<u64>,
    /// Seed of that order.
    pub seed: u64,
    /// Part of the held-out documents to score; all if `None`.
    pub split: Option<HeldoutSplit>,
}

/// A batch, and whose tokens are scored in it.
#[derive(Debug, Clone)]
pub struct ScoringBatch {
    /// Input of the model.
    pub batch: Batch,
    /// The chosen document that each position scores (an index into [`ScoringBatches::documents`]), or `u32::MAX`.
    pub document_of: Vec<u32>,
    /// Index of the document's token that it scores; without meaning if it scores none.
    pub token_of: Vec<u32>,
}

/// A part of a document in one row.
#[derive(Debug, Clone, Copy)]
struct Piece {
    chosen: u32,
    from: usize,
    to: usize,
    /// Targets before this are context: an earlier window has scored them.
    scored_from: usize,
}

/// All batches of a shard.
#[derive(Debug)]
pub struct ScoringBatches<'a> {
    shard: &'a TokenShard,
    options: ScoringOptions,
    documents: Vec<u32>,
    rows: Vec<Vec<Piece>>,
}

impl<'a> ScoringBatches<'a> {
    /// Cuts and packs; nothing is read but the documents' lengths.
    pub fn new(shard: &'a TokenShard, mut options: ScoringOptions) -> Self {
        options.sequence_length = options.sequence_length.max(1); // no row can be shorter
        let documents = choose(shard, &options);
        let rows = pack(shard, &documents, &options);
        Self {
            shard,
            options,
            documents,
            rows,
        }
    }

    /// The documents that are scored, as the shard counts them, ascending.
    pub fn documents(&self) -> &[u32] {
        &self.documents
    }

    /// The tokens that are scored, prompts included.
    pub fn tokens(&self) -> u64 {
        self.documents
            .iter()
            .map(|document| self.shard.document(*document as usize).len() as u64)
            .sum()
    }

    /// The batches, the last one with as many rows as are left.
    pub fn iter(&self) -> impl Iterator<Item = ScoringBatch> + '_ {
        self.rows
            .chunks(self.options.rows.max(1))
            .map(|rows| self.batch(rows))
    }

    fn batch(&self, rows: &[Vec<Piece>]) -> ScoringBatch {
        let length = self.options.sequence_length;
        let mut batch = Batch::with_capacity(BatchShape {
            rows: rows.len(),
            sequence_length: length,
        });
        let mut of = Vec::with_capacity(rows.len() * length);
        for (row, pieces) in rows.iter().enumerate() {
            for piece in pieces {
                self.push(&mut batch, &mut of, piece);
            }
            batch.end_row(0, self.options.bos_token_id);
            of.resize((row + 1) * length, (u32::MAX, 0));
        }
        let (document_of, token_of) = of.into_iter().unzip();
        ScoringBatch {
            batch,
            document_of,
            token_of,
        }
    }

    /// Appends a piece; `of` takes the document and the token that each position scores.
    fn push(&self, batch: &mut Batch, of: &mut Vec<(u32, u32)>, piece: &Piece) {
        let document = self
            .shard
            .document(self.documents[piece.chosen as usize] as usize);
        let (range, bos_token_id) = (piece.from..piece.to, self.options.bos_token_id);
        batch.push_piece(document, range, piece.scored_from, bos_token_id);
        let targets = batch.targets[of.len()..].iter().zip(piece.from..);
        let scores = |(target, index): (&u32, usize)| match *target {
            IGNORED => (u32::MAX, index as u32),
            _ => (piece.chosen, index as u32),
        };
        let scored: Vec<(u32, u32)> = targets.map(scores).collect();
        of.extend(scored);
    }
}

/// Returns all documents of the part that is wanted, or those in a seeded order up to the first with which they have
/// more than `max_tokens`, by the tokens that are stored.
///
/// Passing a long document over would leave a choice of short ones. Where the choice ends at it, any order of the
/// chosen documents would have given the same choice, so that each of them stands for a document drawn at random: the
/// mean over the chosen documents of any figure, their size included, is an unbiased estimate of the mean over all.
fn choose(shard: &TokenShard, options: &ScoringOptions) -> Vec<u32> {
    let shard = shard.stored();
    let wanted = |document: &u32| {
        let split = options.split;
        split.is_none_or(|split| shard.split_of(*document as usize) == split)
    };
    let Some(most) = options.max_tokens.filter(|most| *most < shard.tokens()) else {
        return (0..shard.documents() as u32).filter(wanted).collect();
    };
    let mut chosen = Vec::new();
    let mut tokens = 0;
    let order = permutation(options.seed, CHOICE_STREAM, shard.documents());
    for document in order.into_iter().filter(wanted) {
        tokens += shard.document(document as usize).len() as u64;
        if tokens > most && !chosen.is_empty() {
            break;
        }
        chosen.push(document);
    }
    chosen.sort_unstable();
    chosen
}

/// Windows of each document, short ones packed several to a row (first fit among a few open rows).
fn pack(shard: &TokenShard, documents: &[u32], options: &ScoringOptions) -> Vec<Vec<Piece>> {
    let length = options.sequence_length;
    let stride = options.stride.unwrap_or(length).clamp(1, length);
    let mut done = Vec::new();
    let mut open: Vec<(usize, Vec<Piece>)> = Vec::new();
    for (chosen, document) in documents.iter().enumerate() {
        let tokens = shard.document(*document as usize).len();
        let mut from = 0;
        let mut scored_from = 0;
        while scored_from < tokens {
            let to = tokens.min(from + length);
            let piece = Piece {
                chosen: chosen as u32,
                from,
                to,
                scored_from,
            };
            let size = to - from;
            match open.iter_mut().find(|(used, _)| used + size <= length) {
                Some((used, row)) => {
                    *used += size;
                    row.push(piece);
                }
                None => open.push((size, vec![piece])),
            }
            open.retain_mut(|(used, row)| {
                let full = *used == length;
                if full {
                    done.push(std::mem::take(row));
                }
                !full
            });
            if open.len() > OPEN_ROWS {
                done.push(open.remove(0).1);
            }
            scored_from = to;
            from += stride;
        }
    }
    done.extend(open.into_iter().map(|(_, row)| row));
    done
}
