//! Training batches as a pure function of (seed, step).
//!
//! Rows are numbered over the whole run. They come in blocks of 1024 rows, whose counts follow the weights; within a block each
//! domain's rows are spread evenly with a seeded jitter, so that every batch is near the mixture. Each domain's rows come
//! in epochs, and within an epoch in a seeded permutation: the pieces of a long document are not trained one after
//! another. Nothing is carried from step to step, so resuming needs the step's number only.

use std::sync::Arc;

use crate::turns::Turns;
use crate::wrapped::Wrapped;
use crate::{Batch, BatchShape, DataError, TokenShard};

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

/// The endless stream of batches of a mixture.
#[derive(Debug)]
pub struct MixtureStream {
    parts: Vec<MixturePart>,
    turns: Turns,
    shape: BatchShape,
    bos_token_id: u32,
    seed: u64,
    /// Of each part.
    rows: Vec<Wrapped>,
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
        let rows = parts.iter().enumerate().map(|(number, part)| {
            let shard = part.shard.clone();
            Wrapped::new(shard, shape.sequence_length, (seed, number))
        });
        Ok(Self {
            rows: rows.collect(),
            parts,
            turns,
            shape,
            bos_token_id,
            seed,
        })
    }

    /// The domains, in the order that [`Batch::domains`] counts them.
    pub fn parts(&self) -> &[MixturePart] {
        &self.parts
    }

    /// Checks that the shards can still be read.
    ///
    /// # Errors
    /// A shard that was cut off.
    pub fn check(&self) -> Result<(), DataError> {
        self.parts
            .iter()
            .try_for_each(|part| part.shard.check_length())
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

    /// Appends a row of a part to a batch: the `ordinal`-th of it that is trained on.
    pub(crate) fn push_row(&self, batch: &mut Batch, part: usize, ordinal: u64) {
        self.rows[part].push_row(batch, ordinal, self.bos_token_id);
        batch.end_row(part, self.bos_token_id);
    }
}
