//! A niche's batches with a share of rows from elsewhere: replay.
//!
//! The run's rows are cut into stretches of about 1/share rows, and one row of each, drawn by the seed, is replayed. So
//! the share is right over any stretch of the run to within a row, also where it is less than a row of a batch, and the
//! batch of a step is a pure function of (seed, step). The niche's rows come in the order that they would have without
//! replay. A stream never changes: [`ReplayStream::with_change`] returns one whose share and weights are others from
//! a step on, so that a step's batch is a function of the seed, the step and the changes before it.
//!
//! What is replayed is of several domains, whose parts in it may change on the way as the share does.
//!
//! Replayed rows take the place of the niche's, so that a batch stays as large, or stand beside them: the niche then
//! has the rows that it has without replay, and the batch grows.

use std::ops::Range;
use std::sync::Arc;

use crate::batches::turns::Turns;
use crate::draw::unit;
use crate::{Batch, BatchShape, DataError, MixturePart, MixtureStream};

/// The stream of random numbers that places the replayed rows.
const PLACE_STREAM: u64 = 1 << 42;

/// Settings of replay.
#[derive(Debug, Clone, Copy, Default)]
pub struct Replay {
    /// Share of a batch's rows.
    pub share: f64,
    /// Number of replayed rows to repeat again and again; all if `None`.
    pub pool: Option<u64>,
    /// Adds replayed rows to the niche's instead of replacing some.
    pub beside: bool,
}

impl Batch {
    /// Returns true if a row of a [`ReplayStream`]'s batch is replayed; the others are of the niche.
    #[must_use]
    pub fn is_replayed(&self, row: usize) -> bool {
        self.domains[row] > 0
    }
}

/// The endless stream of batches of a niche, in which a share of the rows is replayed.
#[derive(Debug)]
pub struct ReplayStream {
    niche: Arc<MixtureStream>,
    old: Arc<MixtureStream>,
    /// Periods in the order of their rows; the first begins with the run.
    segments: Vec<Segment>,
    pool: Option<u64>,
    beside: bool,
    padding: f64,
    seed: u64,
}

/// Order of the retained domains among the replayed rows, from one of them on.
#[derive(Debug)]
struct Mix {
    /// Replayed rows before the first of it, and how many of them are of each domain.
    from: u64,
    counts: Vec<u64>,
    turns: Turns,
}

impl Mix {
    /// The domain of a replayed row, and which of its rows it is.
    fn at(&self, row: u64) -> (usize, u64) {
        let (domain, ordinal) = self.turns.at(row - self.from);
        (domain, self.counts[domain] + ordinal)
    }

    /// Counts the replayed rows before `row` of each domain.
    fn counts_before(&self, row: u64) -> Vec<u64> {
        let here = self.turns.counts(row - self.from).into_iter();
        self.counts.iter().zip(here).map(|(a, b)| a + b).collect()
    }
}

/// Rows over which share and parts are one: of the run, or of the niche where replayed ones stand beside them.
#[derive(Debug, Clone)]
struct Segment {
    first_row: u64,
    /// Replayed rows before the first.
    replayed_before: u64,
    /// Replayed rows for each row.
    rate: f64,
    mix: Arc<Mix>,
}

impl ReplayStream {
    /// Replays rows of `old` with those of `niche`, which decides the size of the batches.
    ///
    /// # Errors
    /// A share that is not above 0 and at most a half; rows of another length; an empty pool.
    pub fn new(
        niche: MixtureStream,
        old: MixtureStream,
        Replay {
            share,
            pool,
            beside,
        }: Replay,
        seed: u64,
    ) -> Result<Self, DataError> {
        check(share)?;
        if niche.shape().sequence_length != old.shape().sequence_length || pool == Some(0) {
            let message = "the replayed rows must be as long as the niche's, and at least one";
            return Err(DataError::config("retention.replay", message));
        }
        let weights: Vec<f64> = old.parts().iter().map(|part| part.weight).collect();
        let mix = Mix {
            from: 0,
            counts: vec![0; weights.len()],
            turns: turns(&old, &weights)?,
        };
        Ok(Self {
            segments: vec![Segment {
                first_row: 0,
                replayed_before: 0,
                rate: rate(share, beside),
                mix: Arc::new(mix),
            }],
            pool,
            beside,
            padding: match beside {
                true => niche.padding(),
                false => (1.0 - share) * niche.padding() + share * old.padding(),
            },
            seed,
            niche: Arc::new(niche),
            old: Arc::new(old),
        })
    }

    /// Returns the stream that has this share from `step` on, counted from 0, and these weights of the domains, in the
    /// order of [`Self::replayed`]; batches of earlier steps are the same, and changes from `step` on are dropped.
    /// Without weights, and with a pool, whose rows are fixed, the weights stay as they are.
    ///
    /// # Errors
    /// A share that is not above 0 and at most a half; weights that are none of these domains.
    pub fn with_change(
        &self,
        step: u64,
        share: f64,
        weights: Option<&[f64]>,
    ) -> Result<Self, DataError> {
        check(share)?;
        let first_row = step * self.niche.shape().rows as u64;
        let mut segments = self.segments.clone();
        segments.retain(|segment| segment.first_row < first_row);
        let replayed_before = place_in(&segments, self.seed, first_row).1;
        let before = segments.last().map(|segment| segment.mix.clone());
        let mix = match (weights.filter(|_| self.pool.is_none()), before) {
            (None, Some(mix)) => mix,
            (weights, before) => self.mix(weights, before.as_deref(), replayed_before)?,
        };
        segments.push(Segment {
            first_row,
            replayed_before,
            rate: rate(share, self.beside),
            mix,
        });
        Ok(Self {
            niche: Arc::clone(&self.niche),
            old: Arc::clone(&self.old),
            segments,
            ..*self
        })
    }

    /// A mixture of these weights, or of the domains' own, that goes on after `row` replayed rows of the one before.
    fn mix(
        &self,
        weights: Option<&[f64]>,
        before: Option<&Mix>,
        row: u64,
    ) -> Result<Arc<Mix>, DataError> {
        let own: Vec<f64> = self.replayed().iter().map(|part| part.weight).collect();
        let weights = weights.unwrap_or(&own);
        if weights.len() != own.len() {
            let message = format!("{} weights for {} domains", weights.len(), own.len());
            return Err(DataError::config("retention.replay", message));
        }
        Ok(Arc::new(Mix {
            from: row,
            counts: before.map_or(vec![0; own.len()], |mix| mix.counts_before(row)),
            turns: turns(&self.old, weights)?,
        }))
    }

    /// Checks that the shards can still be read.
    ///
    /// # Errors
    /// A shard that was cut off.
    pub fn check(&self) -> Result<(), DataError> {
        self.niche.check()?;
        self.old.check()
    }

    /// The share of the run's positions that is padding, on average and with the share of replayed rows that it begins
    /// with; of the niche's, where replayed rows stand beside those.
    pub fn padding(&self) -> f64 {
        self.padding
    }

    /// The domains that are replayed.
    pub fn replayed(&self) -> &[MixturePart] {
        self.old.parts()
    }

    /// The batch of a step, counted from 0. Its rows of the niche have the domain 0, those of the *i*-th replayed
    /// domain, counted from 0, the domain 1 + *i*.
    pub fn batch(&self, step: u64) -> Batch {
        let shape = self.niche.shape();
        let mut batch = Batch::with_capacity(shape);
        let first = step * shape.rows as u64;
        let end = first + shape.rows as u64;
        // The niche's rows between two replayed ones follow each other.
        let mut next = self.niche_rows_before(first);
        for row in first..=end {
            let (replayed, before) = self.place(row);
            if row == end || replayed {
                let here = self.niche_rows_before(row);
                self.niche.push_rows(&mut batch, next..here);
                next = here;
            }
            if row < end && replayed {
                let (domain, ordinal) = self.turn(row, before);
                self.old.push_row(&mut batch, domain, ordinal);
                if let Some(domain) = batch.domains.last_mut() {
                    *domain += 1;
                }
            }
        }
        batch.rows = batch.domains.len();
        batch
    }

    /// The domain of the replayed row at `row`, which has so many `before`, and which of its rows it is.
    fn turn(&self, row: u64, before: u64) -> (usize, u64) {
        let number = (self.segments).partition_point(|segment| segment.first_row <= row);
        let mix = &self.segments[number.saturating_sub(1)].mix;
        mix.at(self.pool.map_or(before, |pool| before % pool))
    }

    /// Rows of what is replayed, by their number; where the domains' parts do not change, the run takes them in this
    /// order.
    pub fn replayable(&self, rows: Range<u64>) -> Batch {
        let mut batch = Batch::with_capacity(BatchShape {
            rows: (rows.end - rows.start) as usize,
            ..self.niche.shape()
        });
        self.old.push_rows(&mut batch, rows);
        batch
    }

    /// Counts the replayed rows in the run's first `rows` rows, or beside the niche's first `rows` if they are added to
    /// those.
    pub fn replayed_before(&self, rows: u64) -> u64 {
        self.place(rows).1
    }

    fn niche_rows_before(&self, row: u64) -> u64 {
        if self.beside {
            row
        } else {
            row - self.replayed_before(row)
        }
    }

    /// Returns true if a row is replayed, or one precedes it if they are added to the niche's; and the number before
    /// that.
    fn place(&self, row: u64) -> (bool, u64) {
        place_in(&self.segments, self.seed, row)
    }
}

fn check(share: f64) -> Result<(), DataError> {
    if share > 0.0 && share <= 0.5 {
        return Ok(());
    }
    let message = format!("`{share}` is not a share above 0 and at most 0.5");
    Err(DataError::config("retention.replay", message))
}

fn turns(old: &MixtureStream, weights: &[f64]) -> Result<Turns, DataError> {
    old.turns(weights)
        .ok_or_else(|| DataError::config("retention.replay", "the domains' weights are no shares"))
}

/// Replayed rows for each row of the run, or of the niche.
fn rate(share: f64, beside: bool) -> f64 {
    if beside { share / (1.0 - share) } else { share }
}

fn place_in(segments: &[Segment], seed: u64, row: u64) -> (bool, u64) {
    let number = segments.partition_point(|segment| segment.first_row <= row);
    let Some(number) = number.checked_sub(1) else {
        return (false, 0);
    };
    let segment = &segments[number];
    let row = row - segment.first_row;
    let begin = |stretch: u64| (stretch as f64 / segment.rate).ceil() as u64;
    let mut stretch = (row as f64 * segment.rate) as u64;
    // The division may be off by one where it rounds.
    while stretch > 0 && begin(stretch) > row {
        stretch -= 1;
    }
    while begin(stretch + 1) <= row {
        stretch += 1;
    }
    let length = begin(stretch + 1) - begin(stretch);
    let drawn = (unit(seed, PLACE_STREAM + number as u64, stretch) * length as f64) as u64;
    let place = begin(stretch) + drawn.min(length - 1);
    let before = segment.replayed_before + stretch + u64::from(place < row);
    (row == place, before)
}
