//! McNemar's test of paired answers by its mid-p-value, also with groups of answers.

use std::collections::HashMap;

/// Returns the two-sided mid-p-value of McNemar's test: it tests whether two models are equally good, by the
/// questions that only one of them answers right. The value is the probability of a more uneven split of these
/// questions plus half the probability of an equally uneven one (Fagerland, Lydersen & Laake 2013, *The McNemar test
/// for binary matched-pairs data*: mid-p tests are better than exact conditional tests).
///
/// With `groups` (the group of each question), the test flips the sign of the net wins of whole groups, since
/// questions of one group are dependent. If `groups` is empty or each question is its own group, it is McNemar's
/// test.
///
/// `base` and `tuned` must be answers to the same questions in the same order.
///
/// ```
/// use polymath_eval::statistics::mcnemar;
///
/// let base = [true, true, true, true, true, true, false];
/// let tuned = [false, false, false, false, false, false, false];
/// // 2 · ½ · (½)⁶
/// assert!((mcnemar(&base, &tuned, &[]) - 1.0 / 64.0).abs() < 1e-12);
/// // Six questions made from one template count as one.
/// assert_eq!(mcnemar(&base, &tuned, &[1, 1, 1, 1, 1, 1, 2]), 0.5);
/// ```
pub fn mcnemar(base: &[bool], tuned: &[bool], groups: &[u64]) -> f64 {
    let differences = net_wins(base, tuned, groups);
    let sizes: Vec<usize> = differences
        .iter()
        .map(|wins| wins.unsigned_abs() as usize)
        .filter(|size| *size > 0)
        .collect();
    let total = differences.iter().sum::<i64>().unsigned_abs() as usize;
    let distribution = signed_sums(&sizes);
    // Sums range from −Σ sizes to Σ sizes, and their distribution is symmetric.
    let most: usize = sizes.iter().sum();
    let tail: f64 = distribution[most + total..].iter().sum();
    // With very many answers the value underflows to 0; it is raised to the smallest positive number.
    (2.0 * tail - distribution[most + total]).clamp(f64::MIN_POSITIVE, 1.0)
}

/// Returns for each group the number of questions that only `tuned` answers right minus the number that only `base`
/// does.
pub(super) fn net_wins(base: &[bool], tuned: &[bool], groups: &[u64]) -> Vec<i64> {
    let difference = |(before, after): (&bool, &bool)| i64::from(*after) - i64::from(*before);
    let differences = base.iter().zip(tuned).map(difference);
    if groups.is_empty() {
        return differences.collect();
    }
    let mut places: HashMap<u64, usize> = HashMap::new();
    let mut sums: Vec<i64> = Vec::new();
    for (group, difference) in groups.iter().zip(differences) {
        let place = *places.entry(*group).or_insert(sums.len());
        if place == sums.len() {
            sums.push(difference);
        } else {
            sums[place] += difference;
        }
    }
    sums
}

/// Returns the distribution of Σ ± size from −Σ sizes to Σ sizes, with independent random signs.
fn signed_sums(sizes: &[usize]) -> Vec<f64> {
    let most: usize = sizes.iter().sum();
    let mut probabilities = vec![0.0; 2 * most + 1];
    probabilities[most] = 1.0;
    let mut reached = 0;
    for size in sizes {
        let before = probabilities.clone();
        reached += size;
        for (at, probability) in probabilities[most - reached..=most + reached]
            .iter_mut()
            .enumerate()
        {
            let place = most - reached + at;
            let from = |place: Option<usize>| {
                place
                    .and_then(|place| before.get(place))
                    .copied()
                    .unwrap_or(0.0)
            };
            *probability = f64::midpoint(
                from(place.checked_sub(*size)),
                from(place.checked_add(*size)),
            );
        }
    }
    probabilities
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_split(lost: usize, won: usize) -> f64 {
        let total = lost + won + 3;
        let base: Vec<bool> = (0..total).map(|at| at < lost || at >= lost + won).collect();
        let tuned: Vec<bool> = (0..total).map(|at| at >= lost).collect();
        mcnemar(&base, &tuned, &[])
    }

    /// Checks values of the binomial distribution computed by hand: both tails, with the probability of the observed
    /// split counted half.
    #[test]
    fn matches_the_binomial() {
        assert!((of_split(6, 0) - 1.0 / 64.0).abs() < 1e-12);
        assert!((of_split(1, 5) - (2.0 * 7.0 - 6.0) / 64.0).abs() < 1e-12);
        assert_eq!(of_split(0, 0), 1.0);
        assert!((of_split(3, 3) - 1.0).abs() < 1e-12);
    }

    /// Checks that thousands of differing answers neither underflow nor overflow, and match the normal approximation.
    #[test]
    fn large_counts_stay_finite() {
        // 2 · (1 − Φ((1100 − 1000) / √500)) = 7.74e-6
        let p = of_split(1100, 900);
        assert!((7.3e-6..8.2e-6).contains(&p), "{p}");
        let p = of_split(3000, 0);
        assert!(p > 0.0 && p < 1e-300, "{p}");
    }

    /// Checks groups of three questions against values by hand, from the eight sign combinations of the net wins 3, 2
    /// and 1.
    #[test]
    fn groups_stand_and_fall_together() {
        let base = [true, true, true, true, true, false, true, false, false];
        let tuned = [
            false, false, false, false, false, false, false, false, false,
        ];
        let groups = [1, 1, 1, 2, 2, 2, 3, 3, 3];
        // The sum ±6 occurs in two of eight cases; half of them count.
        assert!((mcnemar(&base, &tuned, &groups) - 1.0 / 8.0).abs() < 1e-12);
        // With one question per group it is McNemar's test, for any group names.
        let own: Vec<u64> = (0..9).rev().collect();
        let (grouped, apart) = (mcnemar(&base, &tuned, &own), mcnemar(&base, &tuned, &[]));
        assert!((grouped - apart).abs() < 1e-15);
    }
}
