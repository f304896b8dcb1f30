//! Training batches as a pure function of (seed, step).
//!
//! Rows are numbered over the whole run. They come in blocks of 1024 rows, whose counts follow the weights; within a block each
//! domain's rows are spread evenly with a seeded jitter, so that every batch is near the mixture. The *k*-th row of a domain
//! holds the target positions
//! `k·T … (k+1)·T` of that domain's endless stream of epochs, each a seeded permutation of its documents. Nothing is
//! carried from step to step, so resuming needs the step's number only.

use std::sync::{Arc, Mutex, PoisonError};

use crate::draw::permutation;
use crate::turns::Turns;
use crate::{DataError, IGNORED, TokenShard};

/// One domain of a mixture.
#[derive(Debug, Clone)]
pub struct MixturePart {
    /// Its name.
    pub name: String,
    /// What is trained on.
    pub shard: Arc<TokenShard>,
    /// Its share of the rows, relative to the others'.
    pub weight: f64,
}

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
    /// What the model reads.
    pub input_ids: Vec<u32>,
    /// What it should predict, or [`IGNORED`].
    pub targets: Vec<u32>,
    /// Where, within its row, the document of each position begins (or goes on).
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
}

/// The endless stream of batches of a mixture.
#[derive(Debug)]
pub struct MixtureStream {
    parts: Vec<MixturePart>,
    turns: Turns,
    shape: BatchShape,
    bos_token_id: u32,
    seed: u64,
    epochs: Vec<Mutex<Option<Arc<Epoch>>>>,
}

/// One pass through a domain: its documents in this epoch's order.
#[derive(Debug)]
struct Epoch {
    number: u64,
    order: Vec<u32>,
    /// Where each of them begins in the epoch's stream of tokens.
    begins: Vec<u64>,
}

impl MixtureStream {
    /// The stream of `parts`, whose documents begin with `bos_token_id`.
    ///
    /// # Errors
    /// No parts, too many, one without tokens, or a weight that is no share.
    pub fn new(
        parts: Vec<MixturePart>,
        shape: BatchShape,
        bos_token_id: u32,
        seed: u64,
    ) -> Result<Self, DataError> {
        if parts.is_empty() || parts.len() > 32 {
            let message = format!("{} domains to train on: expected 1 to 32", parts.len());
            return Err(DataError::config("mixture", message));
        }
        if shape.rows == 0 || shape.sequence_length == 0 {
            let message = "a batch needs at least one row of at least one token";
            return Err(DataError::config("training.batch_size", message));
        }
        if let Some(part) = parts.iter().find(|part| part.shard.tokens() == 0) {
            return Err(DataError::domain(&part.name, "no tokens to train on"));
        }
        let weights: Vec<f64> = parts.iter().map(|part| part.weight).collect();
        let turns = Turns::new(&weights, seed)
            .ok_or_else(|| DataError::config("mixture.weights", "expected numbers above 0"))?;
        let epochs = parts.iter().map(|_| Mutex::new(None)).collect();
        Ok(Self {
            parts,
            turns,
            shape,
            bos_token_id,
            seed,
            epochs,
        })
    }

    /// The domains, in the order that [`Batch::domains`] counts them.
    pub fn parts(&self) -> &[MixturePart] {
        &self.parts
    }

    /// The batch of a step, counted from 0.
    pub fn batch(&self, step: u64) -> Batch {
        let mut batch = Batch::with_capacity(self.shape);
        let first = step * self.shape.rows as u64;
        self.push_rows(&mut batch, first..first + self.shape.rows as u64);
        batch
    }

    /// Of its order.
    pub(crate) fn seed(&self) -> u64 {
        self.seed
    }

    /// The size of its batches.
    pub fn shape(&self) -> BatchShape {
        self.shape
    }

    /// Appends rows of the run to a batch, which must have the stream's row length.
    pub(crate) fn push_rows(&self, batch: &mut Batch, rows: std::ops::Range<u64>) {
        for row in rows {
            let (part, ordinal) = self.turns.at(row);
            self.push_row(batch, part, ordinal);
        }
    }

    /// Appends a row of a part to a batch.
    pub(crate) fn push_row(&self, batch: &mut Batch, part: usize, ordinal: u64) {
        let shard = &self.parts[part].shard;
        let length = self.shape.sequence_length;
        let mut position = ordinal * length as u64;
        let mut filled = 0;
        while filled < length {
            let epoch = self.epoch(part, position / shard.tokens());
            let within_epoch = position % shard.tokens();
            let at = epoch.begins.partition_point(|begin| *begin <= within_epoch) - 1;
            let document = shard.document(epoch.order[at] as usize);
            let from = (within_epoch - epoch.begins[at]) as usize;
            let to = document.len().min(from + length - filled);
            // Each position reads the token before the one that it predicts.
            if from == 0 {
                batch.input_ids.push(self.bos_token_id);
            }
            document.copy_tokens(from.saturating_sub(1)..to - 1, &mut batch.input_ids);
            let targets = batch.targets.len();
            document.copy_tokens(from..to, &mut batch.targets);
            if shard.has_loss_mask() {
                for index in (from..to).filter(|index| !document.scored(*index)) {
                    batch.targets[targets + index - from] = IGNORED;
                }
            }
            batch
                .document_starts
                .extend(std::iter::repeat_n(filled as u32, to - from));
            filled += to - from;
            position += (to - from) as u64;
        }
        batch.domains.push(part);
    }

    fn epoch(&self, part: usize, number: u64) -> Arc<Epoch> {
        // A panic elsewhere can't leave an epoch half-made: it is put in whole.
        let mut kept = self.epochs[part]
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(epoch) = kept.as_ref().filter(|epoch| epoch.number == number) {
            return epoch.clone();
        }
        let shard = &self.parts[part].shard;
        let order = permutation(self.seed, ((part as u64) << 48) | number, shard.documents());
        let mut begin = 0;
        let begins = order
            .iter()
            .map(|document| {
                let at = begin;
                begin += shard.document(*document as usize).len() as u64;
                at
            })
            .collect();
        let epoch = Arc::new(Epoch {
            number,
            order,
            begins,
        });
        *kept = Some(epoch.clone());
        epoch
    }
}
