//! A niche's batches with a share of rows from elsewhere: replay.
//!
//! The run's rows are cut into stretches of about 1/share rows, and one row of each, drawn by the seed, is replayed. So
//! the share is right over any stretch of the run to within a row, also where it is less than a row of a batch, and the
//! batch of a step is a pure function of (seed, step). The niche's rows come in the order that they would have without
//! replay. Where the share changes on the way, it does so between two steps, and a step's batch is a function of the seed,
//! the step and the changes before it.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use crate::draw::unit;
use crate::{Batch, BatchShape, DataError, MixtureStream};

/// The stream of random numbers that places the replayed rows.
const PLACE_STREAM: u64 = 1 << 42;

/// The endless stream of batches of a niche, in which a share of the rows is replayed.
#[derive(Debug)]
pub struct ReplayStream {
    niche: MixtureStream,
    old: MixtureStream,
    /// In the order of their rows; the first begins with the run.
    segments: Mutex<Vec<Segment>>,
    pool: Option<u64>,
    seed: u64,
}

/// Rows of the run over which the share is one.
#[derive(Debug, Clone, Copy)]
struct Segment {
    first_row: u64,
    /// Replayed rows before the first.
    replayed_before: u64,
    share: f64,
}

impl ReplayStream {
    /// Replays rows of `old` among those of `niche`, which decides the size of the batches. With a `pool`, the first so
    /// many rows of `old` come again and again.
    ///
    /// # Errors
    /// A share that is not above 0 and at most a half; rows of another length; an empty pool.
    pub fn new(
        niche: MixtureStream,
        old: MixtureStream,
        (share, pool): (f64, Option<u64>),
        seed: u64,
    ) -> Result<Self, DataError> {
        if !(share > 0.0 && share <= 0.5) {
            let message = format!("`{share}` is not a share above 0 and at most 0.5");
            return Err(DataError::config("retention.replay", message));
        }
        if niche.shape().sequence_length != old.shape().sequence_length || pool == Some(0) {
            let message = "the replayed rows must be as long as the niche's, and at least one";
            return Err(DataError::config("retention.replay", message));
        }
        Ok(Self {
            niche,
            old,
            segments: Mutex::new(vec![Segment {
                first_row: 0,
                replayed_before: 0,
                share,
            }]),
            pool,
            seed,
        })
    }

    /// The share from `step` on, counted from 0; what was said of later steps is forgotten.
    ///
    /// # Errors
    /// A share that is not above 0 and at most a half.
    pub fn change_share(&self, step: u64, share: f64) -> Result<(), DataError> {
        if !(share > 0.0 && share <= 0.5) {
            let message = format!("`{share}` is not a share above 0 and at most 0.5");
            return Err(DataError::config("retention.replay", message));
        }
        let first_row = step * self.niche.shape().rows as u64;
        let mut segments = self.segments.lock().unwrap_or_else(PoisonError::into_inner);
        segments.retain(|segment| segment.first_row < first_row);
        let replayed_before = place_in(&segments, self.seed, first_row).1;
        segments.push(Segment {
            first_row,
            replayed_before,
            share,
        });
        Ok(())
    }

    /// The batch of a step, counted from 0. Its rows of the niche have the domain 0, those of the *i*-th replayed
    /// domain, counted from 0, the domain 1 + *i*.
    pub fn batch(&self, step: u64) -> Batch {
        let shape = self.niche.shape();
        let mut batch = Batch::with_capacity(shape);
        let first = step * shape.rows as u64;
        let end = first + shape.rows as u64;
        // The niche's rows between two replayed ones follow each other.
        let mut next = first - self.replayed_before(first);
        for row in first..=end {
            let (replayed, before) = self.place(row);
            if row == end || replayed {
                let here = row - before;
                self.niche.push_rows(&mut batch, next..here);
                next = here;
            }
            if row < end && replayed {
                let ordinal = self.pool.map_or(before, |pool| before % pool);
                self.old.push_rows(&mut batch, ordinal..ordinal + 1);
                if let Some(domain) = batch.domains.last_mut() {
                    *domain += 1;
                }
            }
        }
        batch
    }

    /// Rows of what is replayed, by their number; the run takes them in this order.
    pub fn replayable(&self, rows: Range<u64>) -> Batch {
        let mut batch = Batch::with_capacity(BatchShape {
            rows: (rows.end - rows.start) as usize,
            ..self.niche.shape()
        });
        self.old.push_rows(&mut batch, rows);
        batch
    }

    /// How many of the run's first `rows` rows are replayed.
    pub fn replayed_before(&self, rows: u64) -> u64 {
        self.place(rows).1
    }

    /// Whether a row of the run is replayed, and how many before it are.
    fn place(&self, row: u64) -> (bool, u64) {
        let segments = self.segments.lock().unwrap_or_else(PoisonError::into_inner);
        place_in(&segments, self.seed, row)
    }
}

fn place_in(segments: &[Segment], seed: u64, row: u64) -> (bool, u64) {
    let number = segments.partition_point(|segment| segment.first_row <= row);
    let Some(number) = number.checked_sub(1) else {
        return (false, 0);
    };
    let segment = segments[number];
    let row = row - segment.first_row;
    let begin = |stretch: u64| (stretch as f64 / segment.share).ceil() as u64;
    let mut stretch = (row as f64 * segment.share) as u64;
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
