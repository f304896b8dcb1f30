//! Change in bits per byte, with an interval and tests by a bootstrap over document groups.

use std::f64::consts::LN_2;

use super::ratio::{Sums, centered, group_sums};
use super::shape::Shape;
use super::student;
use super::{Against, GroupDraws, Side};
use crate::{DomainScores, EvalError};

/// Two-sided significance level of verdicts; intervals are at 95 %.
pub const LEVEL: f64 = 0.05;
/// Minimum number of groups for an interval and a verdict. Fewer do not allow to estimate the variation between
/// groups.
pub const FEWEST_GROUPS: usize = 5;
/// Minimum standard error of a resample, as a share of the sample's. A resample without the few groups that changed
/// would otherwise have an infinite studentized deviation.
pub(super) const LEAST_ERROR: f64 = 0.2;

/// A change in bits per byte with its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Change {
    /// Bits per byte of the tuned model minus those of the base.
    pub value: f64,
    /// Lower and upper end of the interval; `None` with fewer than [`FEWEST_GROUPS`] groups.
    pub interval: Option<[f64; 2]>,
    /// Number of documents compared.
    pub documents: usize,
    /// Number of independent document groups.
    pub groups: usize,
    /// Effective number of groups: the number of equally large groups with normally distributed changes that would
    /// give the same precision.
    pub effective_groups: f64,
}

/// Paired cluster bootstrap of the change in bits per byte from a base to a tuned model,
///
/// r = Σ(nats_tuned − nats_base) / (ln 2 · Σ bytes),
///
/// where each resample draws whole groups of documents with replacement, the same for both models. Without groups,
/// each document is its own group. Two intervals are computed from the resamples. At each end, the one that extends
/// further is used:
///
/// - the percentile interval, expanded for few groups by Student's *t* (Hesterberg 2015, *What Teachers Should Know
///   About the Bootstrap*). *t* uses the effective number of groups, which is small if a few groups contain most of
///   the text or of the variance (see [`Change::effective_groups`]);
/// - the studentized interval (Efron & Tibshirani 1993, chapter 12): [r − t₀.₉₇₅ · s, r − t₀.₀₂₅ · s], where t* = (r*
///   − r) / s*, and s is the ratio's linearized standard error, √(n/(n−1) · Σ e²) / Σ bytes with e = nats − r ·
///   bytes.
///
/// The first covers the true value if groups differ in size. The second extends further to the side on which a few
/// groups change far more than the rest. Each falls short where the other does not.
///
/// Ends are then moved outward, away from r, by these factors:
///
/// - For skewed changes, the end on the side of the long tail: 1 + 2 γ in the interval and 1 + 7 γ in a test against
///   a limit. γ is the skewness over √(effective groups), less the 0.07 expected by chance, and at most 1.
/// - In a test with fewer than 15 effective groups: 15 / (effective groups) for the upper end, and its square for the
///   lower end.
/// - In any test: 1 + 0.2 u, where u is 1 minus the ratio of Kish's effective number of groups by size to the number
///   of groups.
#[derive(Debug, Clone)]
pub struct PairedBootstrap {
    value: f64,
    /// Standard error s of the change.
    error: f64,
    /// Change r* of each resample, ascending.
    changes: Vec<f64>,
    /// Studentized deviation t* of each resample, ascending.
    studentized: Vec<f64>,
    shape: Shape,
    documents: usize,
    groups: usize,
}

impl PairedBootstrap {
    /// Draws the resamples and computes their changes.
    ///
    /// # Errors
    /// Fails if the models were not scored on the same documents, if there are no documents or no resamples, or if a
    /// score is not finite.
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

    /// Tests the change against `limit`, in bits per byte; `None` with fewer than [`FEWEST_GROUPS`] groups. The
    /// p-value is the smallest level at which [`PairedBootstrap::bound`] excludes the limit. It can't be less than 2
    /// / (resamples + 1).
    pub fn against(&self, limit: f64) -> Option<Against> {
        let stretch = self.shape.test_stretch(self.side_of(limit));
        self.tested(limit, stretch)
    }

    /// Tests the change against 0 like [`PairedBootstrap::against`], but with a stricter test of a gain if there are
    /// fewer than 15 effective groups: the bound of a gain is moved outward by the square of 15 / (effective groups),
    /// like that of a loss. The verdict “kept” requires 15 effective groups; the verdict “gained” does not, since a
    /// gain is mostly far larger than its error.
    pub fn against_none(&self) -> Option<Against> {
        let side = self.side_of(0.0);
        let stretch = match side {
            Side::Upper => self.shape.gain_stretch(),
            Side::Lower => self.shape.test_stretch(side),
        };
        self.tested(0.0, stretch)
    }

    fn tested(&self, limit: f64, stretch: f64) -> Option<Against> {
        self.has_spread().then(|| Against {
            p_value: self.p_value(limit, stretch),
            above: self.value > limit,
            groups: self.groups,
            effective_groups: self.shape.effective,
            deciding_groups: self.deciding_groups(limit, LEVEL),
        })
    }

    /// Returns the bound of a one-sided test, for the two-sided `level` (half of it on this side); `None` with fewer
    /// than [`FEWEST_GROUPS`] groups.
    pub fn bound(&self, side: Side, level: f64) -> Option<f64> {
        let arm = self.end(side, level) - self.value;
        let stretched = self.value + self.shape.test_stretch(side) * arm;
        self.has_spread().then_some(stretched)
    }

    /// Returns the approximate number of similar groups that would make the test against `limit` significant at the
    /// two-sided `level`, if the change stayed the same. `None` if the change equals the limit or there are fewer
    /// than [`FEWEST_GROUPS`] groups.
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

    /// Returns the side of the measured change on which `limit` lies.
    fn side_of(&self, limit: f64) -> Side {
        if self.value > limit {
            Side::Lower
        } else {
            Side::Upper
        }
    }

    /// Returns the end of the interval at the two-sided `level`, before it is moved outward.
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

    /// Returns the two-sided p-value of the test against `limit`. A bound moved outward by `stretch` excludes the
    /// limit exactly if the unmoved bound excludes a limit that is closer to the change by this factor.
    fn p_value(&self, limit: f64, stretch: f64) -> f64 {
        if self.error == 0.0 {
            // The change is the same in every group.
            let least = 2.0 / (self.changes.len() + 1) as f64;
            return if self.value == limit {
                1.0
            } else {
                least.min(1.0)
            };
        }
        let nearer = self.value + (limit - self.value) / stretch;
        // Half of the level at which each of the two intervals ends at the limit.
        let percentile = student::level_of_distance(self.distance(nearer), self.shape.effective);
        let t = share_below(&self.studentized, (self.value - nearer) / self.error);
        let studentized = if self.value > limit { 1.0 - t } else { t };
        (2.0 * percentile.max(studentized)).min(1.0)
    }

    /// Returns the distance of `limit` from the middle of the resamples in standard deviations. Within the range of
    /// the resamples it follows from the share of resamples beyond the limit, outside from the normal distribution.
    fn distance(&self, limit: f64) -> f64 {
        let (first, last) = (self.changes[0], self.changes[self.changes.len() - 1]);
        let below = share_below(&self.changes, limit);
        let counted = student::distance_of_tail(below.min(1.0 - below));
        if (first..=last).contains(&limit) {
            // The limit is on the other side of the resamples' middle than of the change.
            let other_side = (below > 0.5) == (self.value > limit);
            return if other_side { 0.0 } else { counted };
        }
        counted.max((limit - self.value).abs() / self.error)
    }
}

/// Checks that a bootstrap has at least one resample.
pub(super) fn check_resamples(resamples: usize) -> Result<(), EvalError> {
    if resamples == 0 {
        return Err(EvalError::Scores(
            "`resamples` is `0`: an interval takes at least 1, better 2000".into(),
        ));
    }
    Ok(())
}

/// Returns the change in bits per byte with its interval, without tests; see [`PairedBootstrap::change`].
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
/// Fails as [`PairedBootstrap::new`] does.
pub fn paired_change(
    base: &DomainScores,
    tuned: &DomainScores,
    resamples: usize,
    seed: u64,
) -> Result<Change, EvalError> {
    Ok(PairedBootstrap::new(base, tuned, resamples, seed)?.change())
}

/// Returns a quantile of sorted values by linear interpolation: the i-th of n values is the quantile i / (n + 1).
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
mod tests;
