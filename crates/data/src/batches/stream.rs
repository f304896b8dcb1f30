//! Training batches as a pure function of (seed, step).
//!
//! Rows are numbered over the whole run. In each block of 1024 rows, the number of rows of each domain follows its
//! weight. Within a block, the rows of each domain are spread evenly with a seeded jitter, so that every batch is
//! close to the mixture.
//!
//! The rows of each domain come in epochs, and within an epoch in a seeded permutation, so that the pieces of a long
//! document are not trained one after another. There is no state between steps: resuming needs only the step number.

use std::sync::Arc;

use crate::batches::batch::BatchWriter;
use crate::batches::packed::Packed;
use crate::batches::turns::Turns;
use crate::batches::wrapped::Wrapped;
use crate::draw::PartDraws;
use crate::{Batch, BatchShape, DataError, Packing, TokenShard};

/// A domain of a mixture.
#[derive(Debug, Clone)]
pub struct MixturePart {
    /// Name of the domain.
    pub name: String,
    /// Training split of the domain.
    pub shard: Arc<TokenShard>,
    /// Share of the tokens, relative to the other domains.
    pub weight: f64,
}

/// Endless stream of batches of a mixture.
#[derive(Debug)]
pub struct MixtureStream {
    parts: Vec<MixturePart>,
    turns: Turns,
    shape: BatchShape,
    bos_token_id: u32,
    seed: u64,
    /// Rows of each domain, in the order of `parts`.
    rows: Vec<Rows>,
    padding: f64,
}

/// Rows of one domain.
#[derive(Debug)]
enum Rows {
    /// Rows of text without prompts.
    Wrapped(Wrapped),
    /// Rows of examples with prompts.
    Packed(Packed),
}

impl Rows {
    /// Creates the rows of a domain. `draws` is the seed and the index of the domain in the mixture.
    ///
    /// # Errors
    /// Fails if no document has a target.
    fn new(part: &MixturePart, length: usize, draws: PartDraws) -> Result<Self, DataError> {
        let shard = part.shard.clone();
        if !shard.has_loss_mask() {
            return Ok(Self::Wrapped(Wrapped::new(shard, length, draws)));
        }
        let packed = Packed::new(shard, length, draws);
        match packed.packing().refusal() {
            Some(message) => Err(DataError::domain(&part.name, message)),
            None => Ok(Self::Packed(packed)),
        }
    }

    /// Returns the share of positions in the rows that are not padding.
    fn fill(&self) -> f64 {
        match self {
            Self::Wrapped(_) => 1.0,
            Self::Packed(rows) => rows.fill(),
        }
    }
}

impl MixtureStream {
    /// Creates the stream of the domains `parts`. `bos_token_id` is the input before each document's first token.
    ///
    /// # Errors
    /// Fails if there are no domains or more than 32, if the batch shape is empty, if a domain has no tokens or no
    /// targets, or if a weight is negative or not finite.
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
        let rows = parts.iter().enumerate();
        let rows = rows
            .map(|(number, part)| {
                Rows::new(part, shape.sequence_length, PartDraws { seed, number })
            })
            .collect::<Result<Vec<Rows>, DataError>>()?;
        let weights: Vec<f64> = parts.iter().map(|part| part.weight).collect();
        let of_rows = row_weights(&weights, &rows);
        let turns = Turns::new(&of_rows, seed)
            .ok_or_else(|| DataError::config("mixture.weights", "expected numbers above 0"))?;
        let padding = 1.0 - weights.iter().sum::<f64>() / of_rows.iter().sum::<f64>();
        Ok(Self {
            rows,
            padding,
            parts,
            turns,
            shape,
            bos_token_id,
            seed,
        })
    }

    /// Returns the domains; [`Batch::domains`] holds indices into them.
    pub fn parts(&self) -> &[MixturePart] {
        &self.parts
    }

    /// Checks that the shards can still be read.
    ///
    /// # Errors
    /// Fails if a shard's file was truncated.
    pub fn check(&self) -> Result<(), DataError> {
        self.parts
            .iter()
            .try_for_each(|part| part.shard.check_length())
    }

    /// Returns the batch of a step, counted from 0.
    pub fn batch(&self, step: u64) -> Batch {
        let mut batch = self.writer(self.shape.rows);
        let first = step * self.shape.rows as u64;
        self.push_rows(&mut batch, first..first + self.shape.rows as u64);
        batch.finish()
    }

    /// Returns the order of the domains' rows for these shares of the tokens; `None` if a weight is negative or not
    /// finite.
    pub(crate) fn turns(&self, weights: &[f64]) -> Option<Turns> {
        Turns::new(&row_weights(weights, &self.rows), self.seed)
    }

    /// Returns the average share of positions that are padding.
    pub fn padding(&self) -> f64 {
        self.padding
    }

    /// Returns the packing statistics, with the domain's name, of each domain that has a loss mask.
    pub fn packings(&self) -> Vec<(&str, &Packing)> {
        let named = self.parts.iter().zip(&self.rows);
        let packings = named.filter_map(|(part, rows)| match rows {
            Rows::Wrapped(_) => None,
            Rows::Packed(rows) => Some((part.name.as_str(), rows.packing())),
        });
        packings.collect()
    }

    /// Iterates over the rows of a domain's first epoch in the order of training, each as a batch of one row. No
    /// token comes twice, unless the domain is shorter than a row.
    pub fn first_epoch(&self, part: usize) -> impl Iterator<Item = Batch> + '_ {
        let ordinals: Box<dyn Iterator<Item = u64>> = match &self.rows[part] {
            Rows::Wrapped(rows) => Box::new(rows.whole_rows()),
            Rows::Packed(rows) => Box::new(0..rows.packing().rows),
        };
        ordinals.map(move |ordinal| {
            let mut batch = self.writer(1);
            self.fill_row(&mut batch, part, ordinal);
            batch.end_row(part);
            batch.finish()
        })
    }

    /// Returns the shape of the batches: rows × tokens per row.
    pub fn shape(&self) -> BatchShape {
        self.shape
    }

    /// Begins a batch of this stream, with room for `rows` rows.
    pub(crate) fn writer(&self, rows: usize) -> BatchWriter {
        let shape = BatchShape { rows, ..self.shape };
        BatchWriter::new(shape, self.bos_token_id)
    }

    /// Appends the rows with these numbers, counted over the whole run, to a batch.
    pub(crate) fn push_rows(&self, batch: &mut BatchWriter, rows: std::ops::Range<u64>) {
        for row in rows {
            let (part, ordinal) = self.turns.at(row);
            self.fill_row(batch, part, ordinal);
            batch.end_row(part);
        }
    }

    /// Appends one row of domain `part` to a batch: the `ordinal`-th row of that domain in training.
    pub(crate) fn fill_row(&self, batch: &mut BatchWriter, part: usize, ordinal: u64) {
        match &self.rows[part] {
            Rows::Wrapped(rows) => rows.fill_row(batch, ordinal),
            Rows::Packed(rows) => rows.fill_row(batch, ordinal),
        }
    }
}

/// Returns the domains' shares of the rows. A domain with padded rows needs more rows for the same number of tokens.
fn row_weights(weights: &[f64], rows: &[Rows]) -> Vec<f64> {
    let pairs = weights.iter().zip(rows);
    pairs.map(|(weight, rows)| weight / rows.fill()).collect()
}
