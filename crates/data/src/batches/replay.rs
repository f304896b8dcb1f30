//! Replay: batches of the niche in which a share of the rows comes from the retained domains.
//!
//! The rows of the run are divided into intervals of about 1/share rows. In each interval, one row, drawn by the
//! seed, is replayed. So over any number of rows the share is exact to within one row, even if it is less than one
//! row per batch, and a batch is a pure function of (seed, step). The order of the niche's rows is the same as
//! without replay.
//!
//! A stream is immutable: [`ReplayStream::with_change`] returns a new one with another share and other weights from a
//! given step on. So a step's batch is a function of the seed, the step and the changes before it. The replayed rows
//! come from several domains, whose weights can change together with the share.
//!
//! Replayed rows either replace rows of the niche, so that the batch size stays the same, or are added to them: then
//! the niche has the same rows as without replay, and the batch grows.

use std::ops::Range;
use std::sync::Arc;

use crate::batches::turns::Turns;
use crate::draw::unit;
use crate::{Batch, DataError, MixturePart, MixtureStream};

/// Random stream that draws the positions of the replayed rows.
const PLACE_STREAM: u64 = 1 << 42;

/// Settings of replay: mixing rows of the retained domains into the niche's batches.
#[derive(Debug, Clone, Copy, Default)]
pub struct Replay {
    /// Share of the batch's rows that are replayed, from 0 to 1.
    pub share: f64,
    /// Number of distinct replayed rows, which are repeated in a cycle; `None` for no limit.
    pub pool: Option<u64>,
    /// True if replayed rows are added to the niche's rows, so that the batch grows; false if they replace some of
    /// them.
    pub beside: bool,
}

/// Endless stream of batches of the niche, in which a share of the rows is replayed.
#[derive(Debug)]
pub struct ReplayStream {
    niche: Arc<MixtureStream>,
    old: Arc<MixtureStream>,
    /// Segments in the order of their rows; the first begins at row 0.
    segments: Vec<Segment>,
    pool: Option<u64>,
    beside: bool,
    padding: f64,
    seed: u64,
}

/// Sequence of domains that successive replayed rows come from, starting at replayed row number `from`.
#[derive(Debug)]
struct Mix {
    /// Number of replayed rows before this sequence begins; `counts` gives the same by domain.
    from: u64,
    counts: Vec<u64>,
    turns: Turns,
}

impl Mix {
    /// Returns the domain of a replayed row, and the row's index within that domain.
    fn at(&self, row: u64) -> (usize, u64) {
        let (domain, ordinal) = self.turns.at(row - self.from);
        (domain, self.counts[domain] + ordinal)
    }

    /// Counts the replayed rows before `row`, by domain.
    fn counts_before(&self, row: u64) -> Vec<u64> {
        let here = self.turns.counts(row - self.from).into_iter();
        self.counts.iter().zip(here).map(|(a, b)| a + b).collect()
    }
}

/// Range of rows with a constant share and constant weights. The rows are those of the run, or those of the niche if
/// replayed rows are added to them.
#[derive(Debug, Clone)]
struct Segment {
    first_row: u64,
    /// Number of replayed rows before this segment.
    replayed_before: u64,
    /// Replayed rows per row of the segment.
    rate: f64,
    mix: Arc<Mix>,
}

impl ReplayStream {
    /// Creates a stream that replays rows of `old` among those of `niche`. The niche's stream gives the batch size.
    ///
    /// # Errors
    /// Fails if the share is not in (0, 0.5], if the rows of the two streams differ in length, or if the pool is
    /// empty.
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

    /// Returns a stream with another share, and other weights of the replayed domains, from `step` on (counted from
    /// 0). Batches of earlier steps stay the same; earlier changes at or after `step` are dropped. The weights are in
    /// the order of [`Self::replayed`]. The weights stay as they are if `weights` is `None`, or if the replayed rows
    /// come from a fixed pool.
    ///
    /// # Errors
    /// Fails if the share is not in (0, 0.5], or if the number of weights is not the number of replayed domains or a
    /// weight is not valid.
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

    /// Returns an order of the domains for these weights (default: the domains' own), which continues the order
    /// `before` after `row` replayed rows.
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
    /// Fails if a shard's file was truncated.
    pub fn check(&self) -> Result<(), DataError> {
        self.niche.check()?;
        self.old.check()
    }

    /// Returns the average share of positions that are padding, for the initial share of replayed rows. If replayed
    /// rows are added, it is the share in the niche's rows alone.
    pub fn padding(&self) -> f64 {
        self.padding
    }

    /// Returns the replayed domains, with their shards and weights.
    pub fn replayed(&self) -> &[MixturePart] {
        self.old.parts()
    }

    /// Returns the batch of a step, counted from 0. In [`Batch::domains`], 0 is the niche and 1 + *i* the *i*-th
    /// replayed domain (*i* from 0).
    pub fn batch(&self, step: u64) -> Batch {
        let rows = self.niche.shape().rows;
        let mut batch = self.niche.writer(rows);
        let first = step * rows as u64;
        let end = first + rows as u64;
        // The niche's rows between two replayed rows are consecutive.
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
                self.old.fill_row(&mut batch, domain, ordinal);
                batch.end_row(1 + domain);
            }
        }
        batch.finish()
    }

    /// Returns the domain of the replayed row at `row`, and its index within that domain. `before` is the number of
    /// replayed rows before it.
    fn turn(&self, row: u64, before: u64) -> (usize, u64) {
        let number = (self.segments).partition_point(|segment| segment.first_row <= row);
        let mix = &self.segments[number.saturating_sub(1)].mix;
        mix.at(self.pool.map_or(before, |pool| before % pool))
    }

    /// Returns the replayed rows with these numbers as one batch, in the order in which the run uses them if the
    /// domains' weights do not change.
    pub fn replayable(&self, rows: Range<u64>) -> Batch {
        let mut batch = self.old.writer((rows.end - rows.start) as usize);
        self.old.push_rows(&mut batch, rows);
        batch.finish()
    }

    /// Counts the replayed rows among the run's first `rows` rows. If replayed rows are added, counts those before
    /// the niche's row number `rows`.
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

    /// Returns whether row number `row` is a replayed one, and the number of replayed rows before it. If replayed rows
    /// are added to the niche's rows, returns whether one is inserted before `row`.
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
    old.turns(weights).ok_or_else(|| {
        DataError::config(
            "retention.replay",
            "the weights of the domains do not give shares",
        )
    })
}

/// Returns the replayed rows per row of the run, or per row of the niche if they are added.
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
    // Rounding can make the quotient off by one.
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
