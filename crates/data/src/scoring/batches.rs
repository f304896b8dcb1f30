//! Batches that score every stored token of a shard exactly once.

use crate::batches::batch::{BatchWriter, TargetRange};
use crate::draw::permutation;
use crate::{Batch, BatchShape, HeldoutSplit, IGNORED, TokenShard};

/// Maximum number of rows that are kept open for further short pieces.
const OPEN_ROWS: usize = 32;
/// Random stream that selects the documents to score.
const CHOICE_STREAM: u64 = 1 << 41;

/// Options for cutting and packing held-out documents.
#[derive(Debug, Clone, Copy)]
pub struct ScoringOptions {
    /// Number of rows per batch.
    pub rows: usize,
    /// Number of tokens per row, which is the context length of the scores.
    pub sequence_length: usize,
    /// Tokens between the starts of consecutive windows of a long document; `None` for windows that do not overlap.
    pub stride: Option<usize>,
    /// Input token before each document's first token.
    pub bos_token_id: u32,
    /// Token limit: scores whole documents in a seeded order, up to the first that exceeds it, but at least one.
    /// `None` scores all.
    pub max_tokens: Option<u64>,
    /// Seed of the order in which documents are taken.
    pub seed: u64,
    /// Split of the held-out documents to score; `None` for all.
    pub split: Option<HeldoutSplit>,
}

/// A batch, with the document and token that each position scores.
#[derive(Debug, Clone)]
pub struct ScoringBatch {
    /// Input tokens and targets for the model.
    pub batch: Batch,
    /// Token that each position scores; `None` if it scores none.
    pub scored: Vec<Option<TokenPlace>>,
}

/// Position of a token among the scored documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenPlace {
    /// Index of the token's document in [`ScoringBatches::documents`].
    pub document: u32,
    /// Index of the token in its document.
    pub token: u32,
}

/// Piece of a document, placed into one row.
#[derive(Debug, Clone, Copy)]
struct Piece {
    chosen: u32,
    from: usize,
    to: usize,
    /// Targets before this index are context: an earlier window scores them.
    scored_from: usize,
}

/// All batches that score the documents of a shard.
#[derive(Debug)]
pub struct ScoringBatches<'a> {
    shard: &'a TokenShard,
    options: ScoringOptions,
    documents: Vec<u32>,
    rows: Vec<Vec<Piece>>,
}

impl<'a> ScoringBatches<'a> {
    /// Selects, cuts and packs the documents; reads only their lengths, not their tokens.
    pub fn new(shard: &'a TokenShard, mut options: ScoringOptions) -> Self {
        options.sequence_length = options.sequence_length.max(1); // a row has at least one token
        let documents = choose(shard, &options);
        let rows = pack(shard, &documents, &options);
        Self {
            shard,
            options,
            documents,
            rows,
        }
    }

    /// Returns the indices in the shard of the scored documents, ascending.
    pub fn documents(&self) -> &[u32] {
        &self.documents
    }

    /// Returns the number of tokens in the scored documents, including prompts.
    pub fn tokens(&self) -> u64 {
        self.documents
            .iter()
            .map(|document| self.shard.document(*document as usize).len() as u64)
            .sum()
    }

    /// Iterates over the batches. The last one may have fewer rows.
    pub fn iter(&self) -> impl Iterator<Item = ScoringBatch> + '_ {
        self.rows
            .chunks(self.options.rows.max(1))
            .map(|rows| self.batch(rows))
    }

    fn batch(&self, rows: &[Vec<Piece>]) -> ScoringBatch {
        let length = self.options.sequence_length;
        let shape = BatchShape {
            rows: rows.len(),
            sequence_length: length,
        };
        let mut batch = BatchWriter::new(shape, self.options.bos_token_id);
        let mut scored = Vec::with_capacity(rows.len() * length);
        for (row, pieces) in rows.iter().enumerate() {
            for piece in pieces {
                self.push(&mut batch, &mut scored, piece);
            }
            batch.end_row(0);
            scored.resize((row + 1) * length, None);
        }
        ScoringBatch {
            batch: batch.finish(),
            scored,
        }
    }

    /// Appends a piece to a batch, and to `scored` the document and token that each of its positions scores.
    fn push(&self, batch: &mut BatchWriter, scored: &mut Vec<Option<TokenPlace>>, piece: &Piece) {
        let document = self
            .shard
            .document(self.documents[piece.chosen as usize] as usize);
        let targets = batch.push_piece(
            document,
            TargetRange {
                tokens: piece.from..piece.to,
                scored_from: piece.scored_from,
            },
        );
        scored.extend((piece.from..).zip(targets).map(|(index, target)| {
            (*target != IGNORED).then_some(TokenPlace {
                document: piece.chosen,
                token: index as u32,
            })
        }));
    }
}

/// Selects the documents of the wanted split. Without `max_tokens`, these are all of them. With it, takes documents
/// in a seeded order and stops before the first one that would exceed the limit, counted in stored tokens.
///
/// Skipping a long document would leave a biased sample of short ones. By stopping, each selected document stands for
/// one drawn at random: the mean of any figure over the selected documents, their size included, is an unbiased
/// estimate of the mean over all.
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

/// Cuts each document into windows, and packs short windows several to a row (first fit among the open rows).
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
