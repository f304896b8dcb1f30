//! Shares of right answers, and their change over the same items.

use std::collections::{BTreeMap, BTreeSet};

use statrs::distribution::{Beta, ContinuousCDF};

use super::student::t_quantile;
use super::{FEWEST_GROUPS, Figure};

/// Probability below the upper end of a 95 % interval.
const BELOW: f64 = 0.975;

/// Returns the share of `true` values with its 95 % score interval (Wilson 1927). Unlike a bootstrap interval, it has
/// a positive width even if all items are right or all are wrong. For no items, the share is 0 with the interval [0,
/// 1].
///
/// With `groups` (the group of each item), the interval is that of the effective number of items: their number
/// divided by the design effect of the groups (Kish 1965). Since this effect is estimated from the groups, Student's
/// *t* with (groups − 1) degrees of freedom replaces the normal distribution. With fewer than five groups there is no
/// interval. If `groups` is empty, all items are independent.
pub fn share(right: &[bool], groups: &[u64]) -> Figure {
    let values: Vec<f64> = right
        .iter()
        .map(|right| f64::from(u8::from(*right)))
        .collect();
    let design = Design::of(&values, groups);
    let total = right.len() as f64 / design.effect;
    let score = wilson(
        count(right.iter().copied()) / design.effect,
        total,
        design.arm,
    );
    Figure {
        value: score.value,
        interval: (!design.is_small).then_some([score.low, score.high]),
    }
}

/// Returns the lower 97.5 % bound of the probability of success, given `well` successes in `of` trials (Clopper &
/// Pearson 1934): 69 % for ten of ten.
///
/// ```
/// use polymath_eval::statistics::proportion::at_least;
///
/// assert!((at_least(10, 10) - 0.6915).abs() < 1e-4);
/// ```
pub fn at_least(well: u64, of: u64) -> f64 {
    if well == 0 || well > of {
        return 0.0;
    }
    let beta = Beta::new(well as f64, (of - well + 1) as f64).expect("both are above 0");
    beta.inverse_cdf(0.025)
}

/// Returns the change in the share of right answers from `base` to `tuned`, with its 95 % interval. Both must answer
/// the same items in the same order. The interval is that of Newcombe (1998, *Improved confidence intervals for the
/// difference between binomial proportions based on paired data*, method 10), which combines the score intervals of
/// both shares. Its lower end is
///
/// Δ − √(d₁² − 2 φ d₁ d₂ + d₂²),
///
/// where φ is the correlation of the answers and d₁, d₂ are the distances from the shares to the ends of their
/// intervals. So it has a positive width even if no answer changed: few items without a change do not prove that
/// there is none. With `groups`, the effective number of items is used, as in [`share`].
pub fn paired_change(base: &[bool], tuned: &[bool], groups: &[u64]) -> Figure {
    let pairs = || base.iter().zip(tuned);
    let differences: Vec<f64> = pairs()
        .map(|(before, after)| f64::from(u8::from(*after)) - f64::from(u8::from(*before)))
        .collect();
    let design = Design::of(&differences, groups);
    let cell = |before: bool, after: bool| {
        count(pairs().map(|pair| (*pair.0, *pair.1) == (before, after))) / design.effect
    };
    let (both, neither) = (cell(true, true), cell(false, false));
    let (lost, won) = (cell(true, false), cell(false, true));
    let total = both + neither + lost + won;
    let score = |right| wilson(right, total, design.arm);
    let (before, after) = (score(both + lost), score(both + won));
    let margins = (both + lost) * (won + neither) * (both + won) * (lost + neither);
    let product = both * neither - lost * won;
    // Continuity correction of method 10 for positively correlated answers.
    let corrected = if product > 0.0 {
        (product - total / 2.0).max(0.0)
    } else {
        product
    };
    let correlation = if margins > 0.0 {
        corrected / margins.sqrt()
    } else {
        0.0
    };
    let distance = |first: f64, second: f64| {
        let squares = first * first - 2.0 * correlation * first * second + second * second;
        squares.max(0.0).sqrt()
    };
    let below = |figure: Score| figure.value - figure.low;
    let above = |figure: Score| figure.high - figure.value;
    // Computed from the counts, so that the value for no change is exactly 0.
    let value = (won - lost) / total.max(1.0);
    Figure {
        value,
        interval: (!design.is_small).then(|| {
            [
                (value - distance(below(after), above(before))).max(-1.0),
                (value + distance(above(after), below(before))).min(1.0),
            ]
        }),
    }
}

/// Effect of correlated groups of items on an interval.
struct Design {
    /// Design effect, by which the number of items is divided; see [`design_effect`].
    effect: f64,
    /// Number of standard errors from the value to each end of the interval.
    arm: f64,
    /// True if there are too few groups for an interval.
    is_small: bool,
}

impl Design {
    fn of(values: &[f64], groups: &[u64]) -> Self {
        let number = groups.iter().collect::<BTreeSet<_>>().len();
        let are_apart = [0, values.len()].contains(&number);
        let freedom = match are_apart {
            true => f64::INFINITY,
            false => number.max(2) as f64 - 1.0,
        };
        Self {
            effect: design_effect(values, groups),
            arm: t_quantile(BELOW, freedom),
            is_small: !are_apart && number < FEWEST_GROUPS,
        }
    }
}

/// Returns the design effect: the variance of the mean of values that are correlated within groups, relative to that
/// of independent values; at least 1. If there is no variation or only one group, the correlation is unknown, and
/// each group counts as one item.
fn design_effect(values: &[f64], groups: &[u64]) -> f64 {
    let mut sums: BTreeMap<u64, (f64, f64)> = BTreeMap::new();
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count.max(1.0);
    for (group, value) in groups.iter().zip(values) {
        let (sum, members) = sums.entry(*group).or_default();
        *sum += value - mean;
        *members += 1.0;
    }
    let number = sums.len() as f64;
    if number == 0.0 || number == count {
        return 1.0;
    }
    let apart: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    let together: f64 = sums.values().map(|(sum, _)| sum.powi(2)).sum();
    let most = sums
        .values()
        .map(|(_, members)| members.powi(2))
        .sum::<f64>()
        / count;
    if apart == 0.0 || number < 2.0 {
        return most;
    }
    (number / (number - 1.0) * together / apart).clamp(1.0, count)
}

fn count(items: impl Iterator<Item = bool>) -> f64 {
    items.filter(|item| *item).count() as f64
}

/// Share with the lower and upper end of its score interval.
#[derive(Clone, Copy)]
struct Score {
    value: f64,
    low: f64,
    high: f64,
}

fn wilson(right: f64, total: f64, arm: f64) -> Score {
    if total == 0.0 {
        return Score {
            value: 0.0,
            low: 0.0,
            high: 1.0,
        };
    }
    let share = right / total;
    let square = arm * arm / total;
    let middle = (share + square / 2.0) / (1.0 + square);
    let half = (share * (1.0 - share) * square + square * square / 4.0).sqrt() / (1.0 + square);
    Score {
        value: share,
        // Rounding must not put the share outside of its interval.
        low: (middle - half).clamp(0.0, share),
        high: (middle + half).clamp(share, 1.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::Random;

    fn answers(both: usize, lost: usize, won: usize, neither: usize) -> (Vec<bool>, Vec<bool>) {
        [
            (both, true, true),
            (lost, true, false),
            (won, false, true),
            (neither, false, false),
        ]
        .into_iter()
        .flat_map(|(number, before, after)| vec![(before, after); number])
        .unzip()
    }

    fn ends(figure: Figure) -> [f64; 2] {
        figure.interval.unwrap()
    }

    fn close(found: Figure, expected: [f64; 3]) {
        let [low, high] = ends(found);
        for (found, expected) in [found.value, low, high].iter().zip(expected) {
            assert!((found - expected).abs() < 5e-5, "{found} {expected}");
        }
    }

    /// Checks Wilson's interval against values by hand: (p + z²/2n ± z √(p(1−p)/n + z²/4n²)) / (1 + z²/n).
    #[test]
    fn shares_match_the_hand() {
        let of = |right: usize, total| {
            share(&(0..total).map(|at| at < right).collect::<Vec<bool>>(), &[])
        };
        close(of(81, 263), [0.307985, 0.255289, 0.366210]);
        close(of(0, 20), [0.0, 0.0, 0.161125]);
        close(of(20, 20), [1.0, 0.838875, 1.0]);
        assert_eq!((of(0, 0).value, of(0, 0).interval), (0.0, Some([0.0, 1.0])));
    }

    /// Checks that no success, and more successes than trials, show nothing.
    #[test]
    fn no_success_shows_nothing() {
        assert_eq!((at_least(0, 10), at_least(11, 10)), (0.0, 0.0));
        // One success in n has the bound 1 − 0.975^(1/n).
        assert!((at_least(1, 8) - (1.0 - 0.975f64.powf(0.125))).abs() < 1e-9);
    }

    /// Checks that groups that are alike have no more items than there are, and that a group of equal items counts
    /// once.
    #[test]
    fn a_design_has_at_least_the_effect_of_independence() {
        let groups = [0, 0, 1, 1, 2, 2];
        assert_eq!(design_effect(&[1.0, 0.0, 1.0, 0.0, 0.0, 1.0], &groups), 1.0);
        // Sums of 1, −1 and 0 around the mean of ½ in pairs: 3/2 · 2 / (6/4).
        assert!((design_effect(&[1.0, 1.0, 0.0, 0.0, 0.0, 1.0], &groups) - 2.0).abs() < 1e-12);
        // Without variation each group counts once: (3² + 2² + 1²) / 6.
        let uneven = [0, 0, 0, 1, 1, 2];
        assert!((design_effect(&[1.0; 6], &uneven) - 14.0 / 6.0).abs() < 1e-12);
        assert_eq!(design_effect(&[1.0, 0.0, 1.0], &[7, 7, 7]), 3.0);
        assert_eq!(design_effect(&[1.0, 0.0], &[]), 1.0);
    }

    /// Checks Newcombe's published example of 50 pairs.
    #[test]
    fn changes_match_the_paper() {
        let (base, tuned) = answers(36, 2, 12, 0);
        close(paired_change(&base, &tuned, &[]), [0.2, 0.0569, 0.3404]);
    }

    /// Checks that the value for no change is exactly 0 and within its interval, and that exchanging the models
    /// reverses the signs.
    #[test]
    fn changes_are_symmetric() {
        let (base, tuned) = answers(30, 12, 2, 6);
        let (there, back) = (
            paired_change(&base, &tuned, &[]),
            paired_change(&tuned, &base, &[]),
        );
        assert_eq!(there.value, -0.2);
        let ([low, high], [low_back, high_back]) = (ends(there), ends(back));
        assert!((low + high_back).abs() < 1e-12 && (high + low_back).abs() < 1e-12);
        let same = paired_change(&base, &base, &[]);
        assert_eq!(same.value, 0.0);
        let [low, high] = ends(same);
        assert!(low < 0.0 && high > 0.0, "{same:?}");
    }

    /// Checks that groups of three identical items have the precision of a third of the items, and that groups of
    /// independent items have the precision of all items.
    #[test]
    fn groups_count_for_what_they_tell() {
        let (base, tuned) = answers(12, 6, 2, 10);
        let thrice = |answers: &[bool]| {
            answers
                .iter()
                .flat_map(|right| [*right; 3])
                .collect::<Vec<_>>()
        };
        let groups: Vec<u64> = (0..90).map(|at| at / 3).collect();
        let grouped = paired_change(&thrice(&base), &thrice(&tuned), &groups);
        let once = paired_change(&base, &tuned, &[]);
        assert!((grouped.value - once.value).abs() < 1e-12);
        // The factor n / (n − 1) in the variance between groups, and Student's t with 29 degrees of freedom, make the
        // interval slightly longer.
        let length = |figure| ends(figure)[1] - ends(figure)[0];
        assert!((1.02..1.06).contains(&(length(grouped) / length(once))));
        let shared = share(&thrice(&base), &groups);
        assert!((1.02..1.06).contains(&(length(shared) / length(share(&base, &[])))));
        // No answer changed: this counts as thirty items, one per group.
        let same = paired_change(&thrice(&base), &thrice(&base), &groups);
        let apart = paired_change(&base, &base, &[]);
        assert!((1.02..1.08).contains(&(length(same) / length(apart))));
        let own: Vec<u64> = (0..30).collect();
        assert_eq!(paired_change(&base, &tuned, &own), once);
    }

    /// Checks that there is no interval with fewer than five groups, and that with five or more it covers the true
    /// change in at least 93 % of cases, for ten correlated questions per group.
    #[test]
    fn few_groups_have_wide_intervals() {
        let (base, tuned) = answers(12, 6, 2, 10);
        for (groups, some) in [(1, false), (4, false), (5, true), (30, true)] {
            let labels: Vec<u64> = (0..30).map(|at| at % groups).collect();
            assert_eq!(share(&base, &labels).interval.is_some(), some);
            let change = paired_change(&base, &tuned, &labels);
            assert_eq!(change.interval.is_some(), some);
        }
        let mut random = Random(3);
        for groups in [5, 8, 12, 20] {
            let labels: Vec<u64> = (0..10 * groups).map(|at| at / 10).collect();
            let mut held = 0;
            for _ in 0..400 {
                // In each group, seven of ten questions have the same answer.
                let mut drawn = || -> Vec<bool> {
                    let draw = |random: &mut Random| random.unit() < 0.6;
                    let common: Vec<bool> = (0..groups).map(|_| draw(&mut random)).collect();
                    let answer = |label: &u64| match random.unit() < 0.7 {
                        true => common[*label as usize],
                        false => draw(&mut random),
                    };
                    labels.iter().map(answer).collect()
                };
                let (base, tuned) = (drawn(), drawn());
                let [low, high] = ends(paired_change(&base, &tuned, &labels));
                held += usize::from(low <= 0.0 && 0.0 <= high);
            }
            assert!(held >= 372, "{groups}: {held}");
        }
    }

    /// Checks the coverage over all outcomes of 40 items, weighted by their probabilities: 92 % to 99 %, for
    /// correlated and independent, frequent and rare right answers.
    #[test]
    fn changes_are_covered() {
        let total = 40;
        let log_factorial = |number: usize| (1..=number).map(|at| (at as f64).ln()).sum::<f64>();
        let outcomes: Vec<[usize; 4]> = (0..=total)
            .flat_map(|both| (0..=total - both).map(move |lost| (both, lost)))
            .flat_map(|(both, lost)| (0..=total - both - lost).map(move |won| (both, lost, won)))
            .map(|(both, lost, won)| [both, lost, won, total - both - lost - won])
            .collect();
        // Shares of items that both models answer right, that only the base does, that only the tuned model does, and
        // that neither does.
        for shares in [
            [0.5, 0.1, 0.1, 0.3],
            [0.4, 0.3, 0.05, 0.25],
            [0.15, 0.15, 0.15, 0.55],
            [0.8, 0.1, 0.02, 0.08],
        ] {
            let truth = shares[2] - shares[1];
            let holds = |numbers: &&[usize; 4]| {
                let [both, lost, won, neither] = **numbers;
                let (base, tuned) = answers(both, lost, won, neither);
                let [low, high] = ends(paired_change(&base, &tuned, &[]));
                (low..=high).contains(&truth)
            };
            let probability = |numbers: &[usize; 4]| {
                let terms = numbers.iter().zip(shares);
                let log: f64 = terms
                    .map(|(number, share)| *number as f64 * share.ln() - log_factorial(*number))
                    .sum();
                (log + log_factorial(total)).exp()
            };
            let covered: f64 = outcomes.iter().filter(holds).map(probability).sum();
            assert!((0.92..0.99).contains(&covered), "{shares:?}: {covered}");
        }
    }
}
