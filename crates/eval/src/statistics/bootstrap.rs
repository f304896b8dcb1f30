//! Change in bits per byte with its interval and tests, by a bootstrap over document groups.

use std::f64::consts::LN_2;

use super::ratio::{Sums, centered, group_sums};
use super::shape::Shape;
use super::student;
use super::{Against, GroupDraws, Side};
use crate::{DomainScores, EvalError};

/// Two-sided significance level of verdicts; intervals have 95 %.
pub const LEVEL: f64 = 0.05;
/// Minimum number of groups for an interval and a verdict; fewer say too little about their variation.
pub const FEWEST_GROUPS: usize = 5;
/// Minimum of a resample's standard error as a share of the sample's: a resample without the few groups that change
/// would make the interval infinite.
pub(super) const LEAST_ERROR: f64 = 0.2;

/// A change with its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Change {
    /// Tuned minus base, in bits per byte.
    pub value: f64,
    /// Lower and upper end of the interval; `None` with fewer than [`FEWEST_GROUPS`] groups.
    pub interval: Option<[f64; 2]>,
    /// Number of documents.
    pub documents: usize,
    /// Number of independent groups of documents.
    pub groups: usize,
    /// Number of equally large groups with normally distributed changes that would give the same precision.
    pub effective_groups: f64,
}

/// Paired cluster bootstrap of the change in bits per byte from a base to a tuned model,
///
/// r = Σ(nats_tuned − nats_base) / (ln 2 · Σ bytes),
///
/// where each resample draws whole groups of documents with replacement, the same for both models. Without groups, each
/// document is its own group. Two intervals are computed from the resamples, and the one that extends further counts at
/// each end:
///
/// - the percentile interval, expanded for few groups by Student's *t* (Hesterberg 2015, *What Teachers Should Know
///   About the Bootstrap*). If a few groups contain most of the text or most of the variance, their effective number
///   counts: see [`Change::effective_groups`];
/// - the studentized interval (Efron & Tibshirani 1993, chapter 12): [r − t₀.₉₇₅ · s, r − t₀.₀₂₅ · s], where t* =
///   (r* − r) / s*, and s is the ratio's linearized standard error, √(n/(n−1) · Σ e²) / Σ bytes with e = nats − r · bytes.
///
/// The first covers the truth for unequal sizes, the second extends further to the side where a few groups change far
/// more than the rest; each falls short where the other does not. For skewed changes, the end on the side of the long
/// tail is moved outward: by the factor 1 + 2 γ in the interval and 1 + 7 γ in a test against a limit, where γ is the
/// skewness over √(effective groups), less the 0.07 expected by chance, and at most 1. In a test with fewer than 15
/// effective groups, both ends are also moved outward by 15 / (effective groups), and in any test by 1 + 0.2 u, where u
/// is 1 minus Kish's effective number of groups by size as a share of the number of groups.
#[derive(Debug, Clone)]
pub struct PairedBootstrap {
    value: f64,
    /// Standard error s of the change.
    error: f64,
    /// Change r* of every resample, ascending.
    changes: Vec<f64>,
    /// Studentized deviation t* of every resample, ascending.
    studentized: Vec<f64>,
    shape: Shape,
    documents: usize,
    groups: usize,
}

impl PairedBootstrap {
    /// Draws the resamples.
    ///
    /// # Errors
    /// Models that were not scored on the same documents; no documents; a score that is not finite; no resamples.
    pub fn new(
        base: &DomainScores,
        tuned: &DomainScores,
        resamples: usize,
        seed: u64,
    ) -> Result<Self, EvalError> {
        let sums = group_sums(base, tuned)?;
        check_resamples(resamples)?;
        let whole = Sums::of(sums.iter().copied());
        let rate = whole.rate(); // nats a byte
        let centered = centered(&sums, rate);
        let error = Sums::of(centered.iter().copied()).error(0.0);
        let mut draws = GroupDraws::new(centered.len(), seed);
        let (mut changes, mut studentized) = (Vec::new(), Vec::new());
        for _ in 0..resamples {
            let drawn = Sums::of(draws.draw().iter().map(|place| centered[*place]));
            let moved = drawn.rate();
            changes.push((rate + moved) / LN_2);
            let own = drawn.error(moved).max(LEAST_ERROR * error);
            studentized.push(if own > 0.0 { moved / own } else { 0.0 });
        }
        changes.sort_unstable_by(f64::total_cmp);
        studentized.sort_unstable_by(f64::total_cmp);
        Ok(Self {
            value: rate / LN_2,
            error: error / LN_2,
            changes,
            studentized,
            shape: Shape::of(&centered),
            documents: base.documents.len(),
            groups: centered.len(),
        })
    }

    /// Returns the change with its 95 % interval.
    pub fn change(&self) -> Change {
        let end = |side| {
            let arm = self.end(side, LEVEL) - self.value;
            self.value + self.shape.interval_stretch(side) * arm
        };
        Change {
            value: self.value,
            interval: self
                .has_spread()
                .then(|| [end(Side::Lower), end(Side::Upper)]),
            documents: self.documents,
            groups: self.groups,
            effective_groups: self.shape.effective,
        }
    }

    /// The change against `limit`, in bits per byte; none below [`FEWEST_GROUPS`] groups. The p-value is the smallest
    /// level at which [`PairedBootstrap::bound`] leaves the limit out; it can't be less than 2 / (resamples + 1), but for
    /// a change that is the same in every group.
    pub fn against(&self, limit: f64) -> Option<Against> {
        self.has_spread().then(|| Against {
            p_value: self.p_value(limit),
            above: self.value > limit,
            groups: self.groups,
            effective_groups: self.shape.effective,
            deciding_groups: self.deciding_groups(limit, LEVEL),
        })
    }

    /// Returns the bound of a test on one side, at the two-sided `level` (half of it one-sided). `None` with fewer than
    /// [`FEWEST_GROUPS`] groups.
    pub fn bound(&self, side: Side, level: f64) -> Option<f64> {
        let arm = self.end(side, level) - self.value;
        let stretched = self.value + self.shape.test_stretch(side) * arm;
        self.has_spread().then_some(stretched)
    }

    /// Returns the approximate number of similar groups that would decide on which side of `limit` the change is, at
    /// the two-sided `level` and for the present change; `None` if it equals the limit.
    pub fn deciding_groups(&self, limit: f64, level: f64) -> Option<usize> {
        let (side, distance) = (self.side_of(limit), (limit - self.value).abs());
        if distance == 0.0 || !self.has_spread() {
            return None;
        }
        let arm = (self.end(side, level) - self.value).abs() * self.shape.skew_stretch(side);
        // The distance of a bound is proportional to 1 / √groups.
        let for_length = (arm / distance).powi(2);
        let for_shape = super::FEWEST_EFFECTIVE / self.shape.effective;
        Some((self.groups as f64 * for_length.max(for_shape)).ceil() as usize)
    }

    fn has_spread(&self) -> bool {
        self.groups >= FEWEST_GROUPS
    }

    /// Returns the side of the change on which `limit` is.
    fn side_of(&self, limit: f64) -> Side {
        if self.value > limit {
            Side::Lower
        } else {
            Side::Upper
        }
    }

    /// Returns the end of the interval at the two-sided `level`, before it is moved outward for skewness.
    fn end(&self, side: Side, level: f64) -> f64 {
        let tail = student::expanded_tail(level, self.shape.effective);
        let t = |share| quantile(&self.studentized, share) * self.error;
        match side {
            Side::Lower => quantile(&self.changes, tail)
                .min(self.value - t(1.0 - level / 2.0))
                .min(self.value),
            Side::Upper => quantile(&self.changes, 1.0 - tail)
                .max(self.value - t(level / 2.0))
                .max(self.value),
        }
    }

    /// Two-sided. A bound that is stretched by a factor leaves the limit out where an unstretched one leaves out a limit
    /// that lies nearer by that factor.
    fn p_value(&self, limit: f64) -> f64 {
        if self.error == 0.0 {
            return if self.value == limit { 1.0 } else { 0.0 };
        }
        let stretch = self.shape.test_stretch(self.side_of(limit));
        let nearer = self.value + (limit - self.value) / stretch;
        // Half the level at which each interval ends at the limit.
        let percentile = student::level_of_distance(self.distance(nearer), self.shape.effective);
        let t = share_below(&self.studentized, (self.value - nearer) / self.error);
        let studentized = if self.value > limit { 1.0 - t } else { t };
        (2.0 * percentile.max(studentized)).min(1.0)
    }

    /// Returns the distance of `limit` from the middle of the resamples in standard deviations, by the share of
    /// resamples beyond it; beyond all resamples, by the normal distribution.
    fn distance(&self, limit: f64) -> f64 {
        let (first, last) = (self.changes[0], self.changes[self.changes.len() - 1]);
        let below = share_below(&self.changes, limit);
        let counted = student::distance_of_tail(below.min(1.0 - below));
        if (first..=last).contains(&limit) {
            // A limit beyond the middle belongs to the other side.
            let other_side = (below > 0.5) == (self.value > limit);
            return if other_side { 0.0 } else { counted };
        }
        counted.max((limit - self.value).abs() / self.error)
    }
}

/// Refuses a bootstrap without resamples.
pub(super) fn check_resamples(resamples: usize) -> Result<(), EvalError> {
    if resamples == 0 {
        return Err(EvalError::Scores(
            "`resamples` is `0`: an interval takes at least 1, better 2000".into(),
        ));
    }
    Ok(())
}

/// Returns the change alone; see [`PairedBootstrap::change`].
///
/// ```
/// use polymath_eval::statistics::paired_change;
/// use polymath_eval::{DocumentScore, DomainScores};
///
/// let scores = |nats: [f64; 6]| DomainScores {
///     documents: nats.map(|nats| DocumentScore { nats, tokens: 20, bytes: 80 }).to_vec(),
///     ..DomainScores::default()
/// };
/// let base = scores([60.0, 64.0, 58.0, 61.0, 60.0, 63.0]);
/// let tuned = scores([63.0, 66.0, 62.0, 64.0, 63.0, 66.0]);
/// let change = paired_change(&base, &tuned, 2000, 1)?;
/// assert!((change.value - tuned.bits_per_byte() + base.bits_per_byte()).abs() < 1e-12);
/// let [low, high] = change.interval.unwrap();
/// assert!(low > 0.0 && high > change.value);
/// // A model has no change against itself.
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

/// Returns the quantile of sorted values, interpolated: the i-th of n is at i / (n + 1).
pub(super) fn quantile(sorted: &[f64], share: f64) -> f64 {
    let last = (sorted.len() - 1) as f64;
    let at = (share * (sorted.len() + 1) as f64 - 1.0).clamp(0.0, last);
    let (below, above) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    below + (above - below) * at.fract()
}

/// Returns the share of sorted values below `value`, the inverse of [`quantile`]; never 0 or 1.
fn share_below(sorted: &[f64], value: f64) -> f64 {
    let count = sorted.partition_point(|found| *found < value);
    let rank = match (count.checked_sub(1).map(|at| sorted[at]), sorted.get(count)) {
        (Some(below), Some(above)) => count as f64 + (value - below) / (above - below),
        (None, _) => 1.0,
        (_, None) => count as f64,
    };
    rank / (sorted.len() + 1) as f64
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

    /// A model against itself has changed by exactly nothing, with an interval of [0, 0] from five groups on, none below.
    #[test]
    fn base_against_itself_is_exactly_zero() {
        for count in [1, 2, 4, 5, 50] {
            let base = scores((1..=count).map(|at| (f64::from(at) * 1.7, at as u64 * 3)));
            let change = paired_change(&base, &base, 2000, 1).unwrap();
            assert_eq!(change.value, 0.0);
            assert_eq!(change.interval, (count >= 5).then_some([0.0; 2]));
        }
    }

    /// Fewer than five groups have no interval, no verdict and no bound, however many documents they are cut into.
    #[test]
    fn few_groups_decide_nothing() {
        let mut base = scores((1..50).map(|at| (f64::from(at), at as u64)));
        let tuned = scores((1..50).map(|at| (f64::from(at * at % 37), at as u64)));
        for (groups, some) in [(4, false), (5, true)] {
            base.groups = (1..50).map(|at| at % groups).collect();
            let bootstrap = PairedBootstrap::new(&base, &tuned, 500, 1).unwrap();
            let change = bootstrap.change();
            assert_eq!((change.documents, change.groups), (49, groups as usize));
            assert_eq!(change.interval.is_some(), some);
            assert_eq!(bootstrap.against(0.1).is_some(), some);
            assert_eq!(bootstrap.bound(Side::Upper, LEVEL).is_some(), some);
            assert_eq!(bootstrap.deciding_groups(0.1, LEVEL).is_some(), some);
        }
    }

    /// Chunks of one work count once: each document thrice, as a group, leaves the interval as it was.
    #[test]
    fn copies_of_a_document_tell_nothing_new() {
        let nats = |at: i32| (f64::from(at * at % 37), at as u64);
        let (base, tuned) = (
            scores((1..30).map(|at| (f64::from(at), at as u64))),
            scores((1..30).map(nats)),
        );
        let thrice = |scores: &DomainScores| DomainScores {
            documents: scores.documents.repeat(3),
            groups: (1..30).collect::<Vec<u64>>().repeat(3),
            ..DomainScores::default()
        };
        let once = paired_change(&base, &tuned, 1000, 1).unwrap();
        let grouped = paired_change(&thrice(&base), &thrice(&tuned), 1000, 1).unwrap();
        assert_eq!((grouped.documents, grouped.groups), (87, 29));
        let ends = |change: Change| change.interval.unwrap();
        for (found, expected) in ends(grouped).iter().zip(ends(once)) {
            assert!((found - expected).abs() < 1e-9, "{found} {expected}");
        }
        let mut apart = thrice(&base);
        apart.groups.clear();
        let mut apart_tuned = thrice(&tuned);
        apart_tuned.groups.clear();
        let [low, high] = ends(paired_change(&apart, &apart_tuned, 1000, 1).unwrap());
        let [wide_low, wide_high] = ends(once);
        assert!(high - low < 0.7 * (wide_high - wide_low));
    }

    /// A constant rise of one bit per byte is found as such, with an interval of no width.
    #[test]
    fn a_known_change_is_found() {
        let base = scores((1..50).map(|at| (f64::from(at), at as u64)));
        let tuned = scores((1..50).map(|at| (f64::from(at) * (1.0 + LN_2), at as u64)));
        let change = paired_change(&base, &tuned, 2000, 1).unwrap();
        let [low, high] = change.interval.unwrap();
        for end in [change.value, low, high] {
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
        assert_ne!(of(1).interval, of(2).interval);
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

    /// The p-value against a limit is below a level exactly where the bound of that level leaves the limit out, on the right
    /// side.
    #[test]
    fn p_values_follow_the_bounds() {
        let base = scores((1..50).map(|at| (f64::from(at), at as u64)));
        let tuned = scores((1..50).map(|at| (f64::from(at * at % 37) * 0.2, at as u64)));
        let bootstrap = PairedBootstrap::new(&base, &tuned, 1000, 1).unwrap();
        for level in [LEVEL, 0.1] {
            let bound = |side| bootstrap.bound(side, level).unwrap();
            let width = bound(Side::Upper) - bound(Side::Lower);
            for (end, outwards) in [(bound(Side::Lower), -1.0), (bound(Side::Upper), 1.0)] {
                let outside = bootstrap.against(end + outwards * 0.01 * width).unwrap();
                assert!(outside.p_value < level, "{outside:?}");
                assert_eq!(outside.above, outwards < 0.0);
                let inside = bootstrap.against(end - outwards * 0.01 * width).unwrap();
                assert!((level..2.0 * level).contains(&inside.p_value), "{inside:?}");
            }
        }
        let value = bootstrap.change().value;
        assert!(bootstrap.against(value).unwrap().p_value > 0.5);
        let far = bootstrap.against(value - 100.0).unwrap().p_value;
        assert!((far - 2.0 / 1001.0).abs() < 1e-12, "{far}");
    }

    /// As many groups as are said to decide do decide: the sample repeated so often, as groups of their own, is just decided.
    #[test]
    fn the_groups_that_decide_do() {
        let nats = |at: u64| (at as f64 + (at * 7919 % 31) as f64 - 15.0, 40);
        let many = |times: u64| scores((0..30 * times).map(|at| nats(at % 30)));
        let flat = |times: u64| scores((0..30 * times).map(|at| ((at % 30) as f64, 40)));
        let of = |times| PairedBootstrap::new(&flat(times), &many(times), 1000, 1).unwrap();
        let (once, limit) = (of(1), 0.06);
        let needed = once.deciding_groups(limit, LEVEL).unwrap();
        assert!(
            once.against(limit).unwrap().p_value > LEVEL && needed > 60,
            "{needed}"
        );
        let times = needed as f64 / 30.0;
        let p_value = |times: f64| of(times.round() as u64).against(limit).unwrap().p_value;
        assert!(p_value(times * 1.3) < LEVEL, "{needed}");
        assert!(p_value(times * 0.7) > LEVEL, "{needed}");
        assert_eq!(once.deciding_groups(once.change().value, LEVEL), None);
    }
}
