//! Shares of right answers, and how surely two of the same items differ.

use crate::report::Figure;

/// Of the standard normal distribution: 97.5 % lie below.
const Z: f64 = 1.959_963_984_540_054;

/// The share of `true`, with its 95 % score interval (Wilson 1927): unlike one by resampling, it has a width where all
/// items are right, or none. Of no items at all, 0 with the interval [0, 1].
pub fn share(right: &[bool]) -> Figure {
    wilson(count(right.iter().copied()), right.len() as f64)
}

/// The change in the share from `base` to `tuned`, which answer the same items in the same order, with its 95 % interval:
/// Newcombe's (1998, *Improved confidence intervals for the difference between binomial proportions based on paired data*,
/// method 10), which puts the two shares' own score intervals together,
///
/// Δ − √(d₁² − 2 φ d₁ d₂ + d₂²), with φ the correlation of the answers and d the distances to the ends,
///
/// and so has a width where no answer changed: that few items saw no change does not say that there is none.
pub fn paired_change(base: &[bool], tuned: &[bool]) -> Figure {
    let pairs = || base.iter().zip(tuned);
    let (before, after) = (share(base), share(tuned));
    let both = count(pairs().map(|(before, after)| *before && *after));
    let neither = count(pairs().map(|(before, after)| !before && !after));
    let lost = count(pairs().map(|(before, after)| *before && !after));
    let won = count(pairs().map(|(before, after)| !before && *after));
    let total = both + neither + lost + won;
    let margins = (both + lost) * (won + neither) * (both + won) * (lost + neither);
    let product = both * neither - lost * won;
    // Method 10's correction for continuity, where answers go together.
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
    let below = |figure: Figure| figure.value - figure.interval[0];
    let above = |figure: Figure| figure.interval[1] - figure.value;
    // From the counts: no change is exactly 0.
    let value = (won - lost) / total.max(1.0);
    Figure {
        value,
        interval: [
            (value - distance(below(after), above(before))).max(-1.0),
            (value + distance(above(after), below(before))).min(1.0),
        ],
    }
}

fn count(items: impl Iterator<Item = bool>) -> f64 {
    items.filter(|item| *item).count() as f64
}

fn wilson(right: f64, total: f64) -> Figure {
    if total == 0.0 {
        return Figure {
            value: 0.0,
            interval: [0.0, 1.0],
        };
    }
    let share = right / total;
    let square = Z * Z / total;
    let middle = (share + square / 2.0) / (1.0 + square);
    let half = (share * (1.0 - share) * square + square * square / 4.0).sqrt() / (1.0 + square);
    Figure {
        value: share,
        // Rounding must not leave the share itself out.
        interval: [
            (middle - half).clamp(0.0, share),
            (middle + half).clamp(share, 1.0),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    fn close(found: Figure, expected: [f64; 3]) {
        for (found, expected) in [found.value, found.interval[0], found.interval[1]]
            .iter()
            .zip(expected)
        {
            assert!((found - expected).abs() < 5e-5, "{found} {expected}");
        }
    }

    /// Wilson's interval, worked out by hand: (p + z²/2n ± z √(p(1−p)/n + z²/4n²)) / (1 + z²/n).
    #[test]
    fn shares_match_the_hand() {
        let of =
            |right: usize, total| share(&(0..total).map(|at| at < right).collect::<Vec<bool>>());
        close(of(81, 263), [0.307985, 0.255289, 0.366210]);
        close(of(0, 20), [0.0, 0.0, 0.161125]);
        close(of(20, 20), [1.0, 0.838875, 1.0]);
        assert_eq!(of(0, 0).interval, [0.0, 1.0]);
    }

    /// Newcombe's own example of 50 pairs.
    #[test]
    fn changes_match_the_paper() {
        let (base, tuned) = answers(36, 2, 12, 0);
        close(paired_change(&base, &tuned), [0.2, 0.0569, 0.3404]);
    }

    /// No change is exactly 0 with 0 inside; the other direction has its signs turned.
    #[test]
    fn changes_are_symmetric() {
        let (base, tuned) = answers(30, 12, 2, 6);
        let (there, back) = (paired_change(&base, &tuned), paired_change(&tuned, &base));
        assert_eq!(there.value, -0.2);
        assert!((there.interval[0] + back.interval[1]).abs() < 1e-12);
        assert!((there.interval[1] + back.interval[0]).abs() < 1e-12);
        let same = paired_change(&base, &base);
        assert_eq!(same.value, 0.0);
        assert!(same.interval[0] < 0.0 && same.interval[1] > 0.0, "{same:?}");
    }

    /// Over all outcomes of 40 items, weighted by how likely each is, the interval holds the true change in 92 % to 99 % of
    /// cases, be the answers alike or not, frequent or rare.
    #[test]
    fn changes_are_covered() {
        let total = 40;
        let log_factorial = |number: usize| (1..=number).map(|at| (at as f64).ln()).sum::<f64>();
        let outcomes: Vec<[usize; 4]> = (0..=total)
            .flat_map(|both| (0..=total - both).map(move |lost| (both, lost)))
            .flat_map(|(both, lost)| (0..=total - both - lost).map(move |won| (both, lost, won)))
            .map(|(both, lost, won)| [both, lost, won, total - both - lost - won])
            .collect();
        // The shares of items that both answer, that are lost, that are won, and that neither answers.
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
                let [low, high] = paired_change(&base, &tuned).interval;
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
