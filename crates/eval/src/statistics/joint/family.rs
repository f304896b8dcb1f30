//! Several comparisons on the same document groups, tested together by the maximum of their statistics.

use std::collections::BTreeMap;
use std::f64::consts::LN_2;

use super::Maxima;
use crate::statistics::bootstrap::{LEAST_ERROR, check_resamples};
use crate::statistics::ratio::{Pair, Sums, centered, group_sums};
use crate::statistics::{FEWEST_GROUPS, GroupDraws};
use crate::{DomainScores, EvalError};

/// One domain of a comparison: the scores of two models on the same documents.
#[derive(Debug, Clone, Copy)]
pub struct Compared<'a> {
    /// Name of the domain. Comparisons of one domain use the same resamples; different domains are resampled
    /// independently.
    pub domain: &'a str,
    /// Scores of the reference model.
    pub before: &'a DomainScores,
    /// Scores of the compared model.
    pub after: &'a DomainScores,
}

/// Statistic of one comparison, with its resamples. All comparisons of a family use the same resamples in the same
/// order.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// Estimated value of the statistic.
    pub value: f64,
    /// Standard error of the value.
    pub error: f64,
    /// Deviation of each resample: (the resample's value − `value`) / the resample's standard error.
    pub deviations: Vec<f64>,
}

/// Family of comparisons that are tested together, so that the probability of even one wrong statement is at most the
/// level. It uses the distribution of the largest statistic (max-T; Westfall & Young 1993), which accounts for the
/// correlation of the comparisons, and a step-down procedure (Romano & Wolf 2005).
#[derive(Debug, Clone, Default)]
pub struct Family {
    comparisons: Vec<Comparison>,
}

impl Family {
    /// Creates a family of comparisons that were resampled together.
    ///
    /// # Errors
    /// Fails if the comparisons have different numbers of resamples, or none.
    pub fn new(comparisons: Vec<Comparison>) -> Result<Self, EvalError> {
        let resamples = |comparison: &Comparison| comparison.deviations.len();
        let first = comparisons.first().map_or(1, resamples);
        check_resamples(first)?;
        if let Some(other) = comparisons.iter().find(|found| resamples(found) != first) {
            return Err(EvalError::Scores(format!(
                "comparisons of {first} and {} resamples can't be tested together",
                resamples(other)
            )));
        }
        Ok(Self { comparisons })
    }

    /// Compares the mean change over the domains of each comparison, with equal weights, in bits per byte. Resamples
    /// draw whole groups; the draws of a domain are the same in every comparison, and independent between domains.
    ///
    /// # Errors
    /// Fails if scores can't be compared, or if a domain has fewer than five groups or different groups in two
    /// comparisons.
    pub fn of_means(
        comparisons: &[Vec<Compared>],
        resamples: usize,
        seed: u64,
    ) -> Result<Self, EvalError> {
        check_resamples(resamples)?;
        let mut means = vec![Mean::new(resamples); comparisons.len()];
        let mut domains: BTreeMap<&str, Vec<(usize, Vec<Pair>)>> = BTreeMap::new();
        for (at, comparison) in comparisons.iter().enumerate() {
            for compared in comparison {
                let sums = group_sums(compared.before, compared.after)?;
                domains.entry(compared.domain).or_default().push((at, sums));
            }
        }
        for (name, members) in &domains {
            check_groups(name, members)?;
            let mut draws = GroupDraws::new(
                members[0].1.len(),
                seed.wrapping_add(polymath_base::fnv1a(name)),
            );
            let members: Vec<(usize, Part)> = members
                .iter()
                .map(|(at, sums)| (*at, Part::of(sums)))
                .collect();
            for (at, part) in &members {
                means[*at].add(part, comparisons[*at].len());
            }
            for resample in 0..resamples {
                let drawn = draws.draw();
                for (at, part) in &members {
                    means[*at].add_drawn(part, drawn, resample, comparisons[*at].len());
                }
            }
        }
        Self::new(means.into_iter().map(Mean::finish).collect())
    }

    /// Returns the comparisons of the family.
    pub fn comparisons(&self) -> &[Comparison] {
        &self.comparisons
    }

    /// Returns the two-sided p-value of each comparison against 0, adjusted for all of them by Romano & Wolf's
    /// step-down of the largest |t|.
    pub fn adjusted_p_values(&self) -> Vec<f64> {
        let statistic = |at: usize| {
            let comparison = &self.comparisons[at];
            match (comparison.error > 0.0, comparison.value == 0.0) {
                (true, _) => (comparison.value / comparison.error).abs(),
                (false, true) => 0.0,
                (false, false) => f64::INFINITY,
            }
        };
        let mut order: Vec<usize> = (0..self.comparisons.len()).collect();
        order.sort_by(|a, b| statistic(*b).total_cmp(&statistic(*a)));
        let mut adjusted = vec![1.0; order.len()];
        let mut least = 0.0f64;
        for (rank, at) in order.iter().enumerate() {
            let largest = self.largest(&order[rank..], f64::abs);
            least = least.max(largest.p_value(statistic(*at)));
            adjusted[*at] = least;
        }
        adjusted
    }

    /// Returns the interval of each comparison at the simultaneous two-sided `level`: the probability that any of the
    /// intervals misses its true value is `level`.
    pub fn intervals(&self, level: f64) -> Vec<[f64; 2]> {
        let reach = self.reach(level, f64::abs);
        let interval = |found: &Comparison| {
            let arm = reach * found.error;
            [found.value - arm, found.value + arm]
        };
        self.comparisons.iter().map(interval).collect()
    }

    /// Returns the upper bound of each comparison at the simultaneous one-sided `level`: the probability that any
    /// true value is above its bound is `level`.
    pub fn upper_bounds(&self, level: f64) -> Vec<f64> {
        let reach = self.reach(level, |t| -t);
        let bound = |found: &Comparison| found.value + reach.max(0.0) * found.error;
        self.comparisons.iter().map(bound).collect()
    }

    /// Returns the critical value: in a share `level` of the resamples, the largest statistic over all comparisons
    /// exceeds it. `of` maps a deviation to the statistic, such as its absolute value.
    fn reach(&self, level: f64, of: fn(f64) -> f64) -> f64 {
        let all: Vec<usize> = (0..self.comparisons.len()).collect();
        self.largest(&all, of).interpolated(level)
    }

    /// Returns the largest statistic of each resample over the comparisons in `members`. `of` maps a deviation to the
    /// statistic.
    fn largest(&self, members: &[usize], of: fn(f64) -> f64) -> Maxima {
        let resamples = self
            .comparisons
            .first()
            .map_or(0, |first| first.deviations.len());
        let mut largest = vec![f64::NEG_INFINITY; resamples];
        for at in members {
            let deviations = &self.comparisons[*at].deviations;
            for (largest, deviation) in largest.iter_mut().zip(deviations) {
                *largest = largest.max(of(*deviation));
            }
        }
        Maxima::new(largest)
    }
}

/// One domain of a comparison: the ratio in nats per byte, its standard error, and each group's residuals.
struct Part {
    rate: f64,
    error: f64,
    centered: Vec<Pair>,
}

impl Part {
    fn of(sums: &[Pair]) -> Self {
        let rate = Sums::of(sums.iter().copied()).rate();
        let centered = centered(sums, rate);
        Self {
            rate,
            error: Sums::of(centered.iter().copied()).error(0.0),
            centered,
        }
    }
}

/// Running mean over domains, in nats per byte.
#[derive(Clone)]
struct Mean {
    value: f64,
    variance: f64,
    /// For each resample, the deviation of the mean from the measured one, and its variance.
    drawn: Vec<(f64, f64)>,
}

impl Mean {
    fn new(resamples: usize) -> Self {
        Self {
            value: 0.0,
            variance: 0.0,
            drawn: vec![(0.0, 0.0); resamples],
        }
    }

    fn add(&mut self, part: &Part, domains: usize) {
        self.value += part.rate / domains as f64;
        self.variance += (part.error / domains as f64).powi(2);
    }

    fn add_drawn(&mut self, part: &Part, drawn: &[usize], resample: usize, domains: usize) {
        let sums = Sums::of(drawn.iter().map(|place| part.centered[*place]));
        let moved = sums.rate();
        let error = sums.error(moved).max(LEAST_ERROR * part.error);
        let (value, variance) = &mut self.drawn[resample];
        *value += moved / domains as f64;
        *variance += (error / domains as f64).powi(2);
    }

    fn finish(self) -> Comparison {
        let deviation = |(moved, variance): (f64, f64)| match variance > 0.0 {
            true => moved / variance.sqrt(),
            false => 0.0,
        };
        Comparison {
            value: self.value / LN_2,
            error: self.variance.sqrt() / LN_2,
            deviations: self.drawn.into_iter().map(deviation).collect(),
        }
    }
}

fn check_groups(name: &str, members: &[(usize, Vec<Pair>)]) -> Result<(), EvalError> {
    let groups = members[0].1.len();
    if members.iter().any(|(_, sums)| sums.len() != groups) {
        return Err(EvalError::Scores(format!(
            "models were scored on different groups of documents of `{name}`: score all with the same dataset"
        )));
    }
    if groups < FEWEST_GROUPS {
        return Err(EvalError::Scores(format!(
            "`{name}` has {groups} groups of held-out documents: a comparison needs at least {FEWEST_GROUPS}"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
