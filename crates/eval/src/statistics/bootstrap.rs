//! A change in bits per byte, its interval and what it says against a limit, by resampling documents.

use std::f64::consts::LN_2;

use super::ratio::{Pair, Sums, effective_documents, pairs};
use super::student;
use crate::{DomainScores, EvalError};

/// Two-sided: the intervals are of 95 %, and what is judged at it alone is judged as its interval says.
pub const LEVEL: f64 = 0.05;
/// Fewer documents than these say too little of how much documents differ.
const FEWEST_DOCUMENTS: usize = 5;
/// A resample's standard error is not taken for smaller than this share of the sample's: one that leaves out the few
/// documents that change would make the interval endless.
const LEAST_ERROR: f64 = 0.2;

/// A difference with its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Change {
    /// tuned − base, in bits per byte.
    pub value: f64,
    /// The interval's lower end.
    pub low: f64,
    /// The interval's upper end.
    pub high: f64,
    /// How many documents it rests on.
    pub documents: usize,
}

impl Change {
    /// Whether the interval can be trusted: a few documents do not show how much documents differ, unless nothing
    /// changed in any of them.
    pub fn has_spread(&self) -> bool {
        self.documents >= FEWEST_DOCUMENTS || (self.low == 0.0 && self.high == 0.0)
    }
}

/// What a change says against a limit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Against {
    /// Two-sided: below [`LEVEL`] exactly where the 95 % interval leaves the limit out.
    pub p_value: f64,
    /// Whether the change is above the limit.
    pub above: bool,
}

/// The change in bits per byte from a base to a model tuned from it,
///
/// r = Σ(nats_tuned − nats_base) / (ln 2 · Σ bytes),
///
/// and what a paired bootstrap makes of it: each resample draws whole documents with replacement, the same ones for
/// both models. Two intervals are drawn from the resamples, and the one that reaches further counts at each end:
///
/// - the percentile interval, expanded to what Student's *t* says of so few documents (Hesterberg 2015, *What Teachers
///   Should Know About the Bootstrap*). Where a few documents hold most of the text, or most of what scatters, no more
///   than these few speak: see `effective_documents`;
/// - the studentised interval (Efron & Tibshirani 1993, chapter 12): [r − t₀.₉₇₅ · s, r − t₀.₀₂₅ · s], where t* =
///   (r* − r) / s*, and s is the ratio's linearised standard error, √(n/(n−1) · Σ e²) / Σ bytes with e = nats − r · bytes.
///
/// The first holds the truth where sizes are unequal, the second reaches further towards the side where a few documents
/// change far more than the rest; each falls short where the other does not.
#[derive(Debug, Clone)]
pub struct PairedBootstrap {
    value: f64,
    /// s.
    error: f64,
    /// r* of every resample, ascending.
    changes: Vec<f64>,
    /// t* of every resample, ascending.
    studentised: Vec<f64>,
    /// See [`effective_documents`].
    effective: f64,
    documents: usize,
}

impl PairedBootstrap {
    /// Draws the resamples.
    ///
    /// # Errors
    /// The two were not scored on the same documents; there are none; a score is not a finite number; no resamples.
    pub fn new(
        base: &DomainScores,
        tuned: &DomainScores,
        resamples: usize,
        seed: u64,
    ) -> Result<Self, EvalError> {
        let pairs = pairs(base, tuned)?;
        if resamples == 0 {
            return Err(EvalError::Report(
                "`resamples` is `0`: an interval takes at least 1, better 2000".into(),
            ));
        }
        let whole = Sums::of(pairs.iter().copied());
        let rate = whole.nats / whole.bytes; // nats a byte
        // Around the mean change: what is summed is small then, and nothing is lost in rounding.
        let centred: Vec<Pair> = pairs
            .iter()
            .map(|pair| Pair {
                nats: pair.nats - rate * pair.bytes,
                bytes: pair.bytes,
            })
            .collect();
        let error = Sums::of(centred.iter().copied()).error(0.0);
        let mut random = Random(seed);
        let (mut changes, mut studentised) = (Vec::new(), Vec::new());
        for _ in 0..resamples {
            let drawn = Sums::of((0..centred.len()).map(|_| centred[random.below(centred.len())]));
            let moved = drawn.rate();
            changes.push((rate + moved) / LN_2);
            let own = drawn.error(moved).max(LEAST_ERROR * error);
            studentised.push(if own > 0.0 { moved / own } else { 0.0 });
        }
        changes.sort_unstable_by(f64::total_cmp);
        studentised.sort_unstable_by(f64::total_cmp);
        Ok(Self {
            value: rate / LN_2,
            error: error / LN_2,
            changes,
            studentised,
            effective: effective_documents(&centred),
            documents: pairs.len(),
        })
    }

    /// The change with its 95 % interval.
    pub fn change(&self) -> Change {
        let tail = student::expanded_tail(LEVEL, self.effective);
        let t = |share| quantile(&self.studentised, share) * self.error;
        let low = quantile(&self.changes, tail).min(self.value - t(1.0 - LEVEL / 2.0));
        let high = quantile(&self.changes, 1.0 - tail).max(self.value - t(LEVEL / 2.0));
        Change {
            value: self.value,
            low: low.min(self.value),
            high: high.max(self.value),
            documents: self.documents,
        }
    }

    /// The change against `limit`, in bits per byte. The p-value is the smallest level at which the interval leaves the
    /// limit out; it can't be less than 2 / (resamples + 1), but for a change that is the same in every document.
    pub fn against(&self, limit: f64) -> Against {
        let above = self.value > limit;
        if self.error == 0.0 {
            let p_value = if self.value == limit { 1.0 } else { 0.0 };
            return Against { p_value, above };
        }
        // Of each interval: half the level at which it ends at the limit.
        let percentile = student::level_of_distance(self.distance(limit), self.effective);
        let t = share_below(&self.studentised, (self.value - limit) / self.error);
        let studentised = if above { 1.0 - t } else { t };
        Against {
            p_value: (2.0 * percentile.max(studentised)).min(1.0),
            above,
        }
    }
}

impl PairedBootstrap {
    /// How many standard deviations `limit` lies from the middle of the resamples, by the share of them beyond it;
    /// where there is none, as if they were normal.
    fn distance(&self, limit: f64) -> f64 {
        let (first, last) = (self.changes[0], self.changes[self.changes.len() - 1]);
        let below = share_below(&self.changes, limit);
        let counted = student::distance_of_tail(below.min(1.0 - below));
        if (first..=last).contains(&limit) {
            // On the far side of the middle, it speaks for the other side.
            let other_side = (below > 0.5) == (self.value > limit);
            return if other_side { 0.0 } else { counted };
        }
        counted.max((limit - self.value).abs() / self.error)
    }
}

/// [`PairedBootstrap::change`] alone.
///
/// ```
/// use polymath_eval::statistics::paired_change;
/// use polymath_eval::{DocumentScore, DomainScores};
///
/// let scores = |nats: [f64; 4]| DomainScores {
///     documents: nats.map(|nats| DocumentScore { nats, tokens: 20, bytes: 80 }).to_vec(),
///     ..DomainScores::default()
/// };
/// let (base, tuned) = (scores([60.0, 64.0, 58.0, 61.0]), scores([63.0, 66.0, 62.0, 64.0]));
/// let change = paired_change(&base, &tuned, 2000, 1)?;
/// assert!((change.value - tuned.bits_per_byte() + base.bits_per_byte()).abs() < 1e-12);
/// assert!(change.low > 0.0 && change.high > change.value);
/// // A model against itself has changed by nothing, exactly.
/// assert_eq!(paired_change(&base, &base, 2000, 1)?.value, 0.0);
/// # Ok::<(), polymath_eval::EvalError>(())
/// ```
///
/// # Errors
/// As [`PairedBootstrap::new`].
pub fn paired_change(
    base: &DomainScores,
    tuned: &DomainScores,
    resamples: usize,
    seed: u64,
) -> Result<Change, EvalError> {
    Ok(PairedBootstrap::new(base, tuned, resamples, seed)?.change())
}

/// The value that `share` of the sorted values lie below, interpolated: the i-th of n lies at i / (n + 1).
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let last = (sorted.len() - 1) as f64;
    let at = (share * (sorted.len() + 1) as f64 - 1.0).clamp(0.0, last);
    let (below, above) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    below + (above - below) * at.fract()
}

/// The share of the sorted values below `value`: [`quantile`] turned round. Never 0 or 1, as far as so few can tell.
fn share_below(sorted: &[f64], value: f64) -> f64 {
    let count = sorted.partition_point(|found| *found < value);
    let rank = match (count.checked_sub(1).map(|at| sorted[at]), sorted.get(count)) {
        (Some(below), Some(above)) => count as f64 + (value - below) / (above - below),
        (None, _) => 1.0,
        (_, None) => count as f64,
    };
    rank / (sorted.len() + 1) as f64
}

/// SplitMix64: small, seeded, the same everywhere.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, count: usize) -> usize {
        ((u128::from(self.next()) * count as u128) >> 64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DocumentScore;

    fn scores(documents: impl Iterator<Item = (f64, u64)>) -> DomainScores {
        DomainScores {
            documents: documents
                .map(|(nats, bytes)| DocumentScore {
                    nats,
                    tokens: bytes / 4 + 1,
                    bytes,
                })
                .collect(),
            ..DomainScores::default()
        }
    }

    /// A model against itself has changed by exactly nothing, with an interval of [0, 0].
    #[test]
    fn base_against_itself_is_exactly_zero() {
        for count in [1, 2, 50] {
            let base = scores((1..=count).map(|at| (f64::from(at) * 1.7, at as u64 * 3)));
            let change = paired_change(&base, &base, 2000, 1).unwrap();
            assert_eq!((change.value, change.low, change.high), (0.0, 0.0, 0.0));
            assert!(change.has_spread());
        }
    }

    /// A constant rise of one bit per byte is found as such, with an interval of no width.
    #[test]
    fn a_known_change_is_found() {
        let base = scores((1..50).map(|at| (f64::from(at), at as u64)));
        let tuned = scores((1..50).map(|at| (f64::from(at) * (1.0 + LN_2), at as u64)));
        let change = paired_change(&base, &tuned, 2000, 1).unwrap();
        for end in [change.value, change.low, change.high] {
            assert!((end - 1.0).abs() < 1e-9, "{end}");
        }
    }

    /// The same seed gives the same interval, another seed another one.
    #[test]
    fn the_seed_decides() {
        let base = scores((1..50).map(|at| (f64::from(at), at as u64)));
        let tuned = scores((1..50).map(|at| (f64::from(at * at % 37), at as u64)));
        let of = |seed| paired_change(&base, &tuned, 200, seed).unwrap();
        assert_eq!(of(1), of(1));
        assert_ne!(of(1).low, of(2).low);
    }

    /// Scores that can't be compared are refused: other documents, none, no number, no resamples.
    #[test]
    fn what_cannot_be_compared_is_refused() {
        let base = scores((1..50).map(|at| (f64::from(at), at as u64)));
        let refused = |tuned: &DomainScores, resamples| {
            let error = paired_change(&base, tuned, resamples, 1).unwrap_err();
            error.to_string()
        };
        assert!(refused(&scores([(1.0, 1)].into_iter()), 10).contains("different documents"));
        let diverged = scores((1..50).map(|at| (f64::NAN, at as u64)));
        assert!(refused(&diverged, 10).contains("not finite"));
        assert!(refused(&base, 0).contains("resamples"));
        let nothing = DomainScores::default();
        assert!(paired_change(&nothing, &nothing, 10, 1).is_err());
    }

    /// The p-value against a limit is below 5 % exactly where the interval leaves the limit out, on the right side.
    #[test]
    fn p_values_follow_the_interval() {
        let base = scores((1..50).map(|at| (f64::from(at), at as u64)));
        let tuned = scores((1..50).map(|at| (f64::from(at * at % 37) * 0.2, at as u64)));
        let bootstrap = PairedBootstrap::new(&base, &tuned, 1000, 1).unwrap();
        let change = bootstrap.change();
        let width = change.high - change.low;
        for (end, outwards) in [(change.low, -1.0), (change.high, 1.0)] {
            let outside = bootstrap.against(end + outwards * 0.01 * width);
            assert!(outside.p_value < LEVEL, "{outside:?}");
            assert_eq!(outside.above, outwards < 0.0);
            let inside = bootstrap.against(end - outwards * 0.01 * width);
            assert!((LEVEL..0.1).contains(&inside.p_value), "{inside:?}");
        }
        assert!(bootstrap.against(change.value).p_value > 0.5);
        let far = bootstrap.against(change.value - 100.0).p_value;
        assert!((far - 2.0 / 1001.0).abs() < 1e-12, "{far}");
    }
}
