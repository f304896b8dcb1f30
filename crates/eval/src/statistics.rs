//! How sure a difference is: paired bootstrap, verdicts, McNemar's test.

use serde::{Deserialize, Serialize};

use crate::{DomainScores, EvalError};

/// A difference with its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Change {
    /// tuned − base, in bits per byte.
    pub value: f64,
    /// The interval's lower end.
    pub low: f64,
    /// The interval's upper end.
    pub high: f64,
}

/// What the interval says of a domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The whole interval lies below the tolerance: at most a negligible loss.
    Kept,
    /// The whole interval lies above the tolerance.
    Forgotten,
    /// The interval holds the tolerance: more held-out text would be needed.
    Undecided,
    /// Of the niche: the whole interval lies below zero.
    Gained,
    /// Not judged, since its held-out text stands in training text too.
    Withheld,
}

impl Verdict {
    /// Of an old domain.
    pub fn of_old(change: Change, tolerance: f64) -> Self {
        if change.high < tolerance {
            Self::Kept
        } else if change.low > tolerance {
            Self::Forgotten
        } else {
            Self::Undecided
        }
    }

    /// Of the niche.
    pub fn of_niche(change: Change, tolerance: f64) -> Self {
        if change.high < 0.0 {
            Self::Gained
        } else {
            Self::of_old(change, tolerance)
        }
    }

    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Forgotten => "forgotten",
            Self::Undecided => "undecided",
            Self::Gained => "gained",
            Self::Withheld => "withheld",
        }
    }
}

/// The change in bits per byte from `base` to `tuned`, with the 95 % percentile interval of a paired bootstrap: whole
/// documents are drawn with replacement, the same ones for both models, and each draw's change is
/// Σ(nats_tuned − nats_base) / (ln 2 · Σ bytes).
///
/// # Errors
/// The two were not scored on the same documents.
pub fn paired_change(
    base: &DomainScores,
    tuned: &DomainScores,
    resamples: usize,
    seed: u64,
) -> Result<Change, EvalError> {
    let same = base.documents.len() == tuned.documents.len()
        && base
            .documents
            .iter()
            .zip(&tuned.documents)
            .all(|(a, b)| a.bytes == b.bytes);
    if !same || base.documents.is_empty() {
        return Err(EvalError::Report(
            "base and tuned model were not scored on the same documents".into(),
        ));
    }
    let pairs: Vec<(f64, f64)> = base
        .documents
        .iter()
        .zip(&tuned.documents)
        .map(|(a, b)| ((b.nats - a.nats) / std::f64::consts::LN_2, a.bytes as f64))
        .collect();
    let ratio = |sums: (f64, f64)| sums.0 / sums.1.max(1.0);
    let add = |sums: (f64, f64), pair: &(f64, f64)| (sums.0 + pair.0, sums.1 + pair.1);
    let value = ratio(pairs.iter().fold((0.0, 0.0), add));
    let mut random = Random(seed);
    let mut changes: Vec<f64> = (0..resamples)
        .map(|_| {
            ratio((0..pairs.len()).fold((0.0, 0.0), |sums, _| {
                add(sums, &pairs[random.below(pairs.len())])
            }))
        })
        .collect();
    changes.sort_by(f64::total_cmp);
    let at = |share: f64| changes[((changes.len() - 1) as f64 * share).round() as usize];
    Ok(Change {
        value,
        low: at(0.025),
        high: at(0.975),
    })
}

/// McNemar's exact test of paired yes/no outcomes: the two-sided probability of a split at least as uneven among the
/// pairs that differ, were both equally good.
pub fn mcnemar(base: &[bool], tuned: &[bool]) -> f64 {
    let lost = base.iter().zip(tuned).filter(|(a, b)| **a && !**b).count();
    let won = base.iter().zip(tuned).filter(|(a, b)| !**a && **b).count();
    let (n, fewer) = (lost + won, lost.min(won));
    // Σ C(n, k) / 2ⁿ for k ≤ fewer, each term from the one before, in logarithms against underflow.
    let mut log_term = -(n as f64) * std::f64::consts::LN_2;
    let mut tail = 0.0;
    for k in 0..=fewer {
        tail += log_term.exp();
        log_term += ((n - k) as f64 / (k + 1) as f64).ln();
    }
    (2.0 * tail).min(1.0)
}

/// SplitMix64: small, seeded, the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, count: usize) -> usize {
        ((u128::from(self.next()) * count as u128) >> 64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DocumentScore;

    fn scores(nats: impl Iterator<Item = (f64, u64)>) -> DomainScores {
        DomainScores {
            documents: nats
                .map(|(nats, bytes)| DocumentScore {
                    nats,
                    tokens: bytes / 4 + 1,
                    bytes,
                })
                .collect(),
        }
    }

    /// A model against itself has changed by exactly nothing.
    #[test]
    fn base_against_itself_is_exactly_zero() {
        let base = scores((1..50).map(|at| (f64::from(at) * 1.7, at as u64 * 3)));
        let change = paired_change(&base, &base, 2000, 1).unwrap();
        assert_eq!(
            change,
            Change {
                value: 0.0,
                low: 0.0,
                high: 0.0
            }
        );
        assert_eq!(Verdict::of_old(change, 0.02), Verdict::Kept);
    }

    /// A constant rise of one bit per byte is found as such, with an interval of no width.
    #[test]
    fn a_known_change_is_found() {
        let base = scores((1..50).map(|at| (f64::from(at), at as u64)));
        let tuned =
            scores((1..50).map(|at| (f64::from(at) * (1.0 + std::f64::consts::LN_2), at as u64)));
        let change = paired_change(&base, &tuned, 2000, 1).unwrap();
        for end in [change.value, change.low, change.high] {
            assert!((end - 1.0).abs() < 1e-9, "{end}");
        }
        assert_eq!(Verdict::of_old(change, 0.02), Verdict::Forgotten);
        assert!(paired_change(&base, &scores([(1.0, 1)].into_iter()), 10, 1).is_err());
    }

    /// Over many simulated domains with documents of very different sizes, the interval holds the truth in 93–97 %.
    #[test]
    fn intervals_cover_the_truth() {
        let mut random = Random(99);
        let mut unit = move || (random.next() >> 11) as f64 / (1u64 << 53) as f64;
        let trials = 600;
        let covered = (0..trials)
            .filter(|trial| {
                let sizes: Vec<u64> = (0..150)
                    .map(|_| (200.0 * unit().max(1e-3).powf(-0.4)) as u64)
                    .collect();
                let base = scores(sizes.iter().map(|bytes| (*bytes as f64, *bytes)));
                // A mean rise of 0.1 nats a byte, with noise that differs from document to document.
                let tuned = scores(sizes.iter().map(|bytes| {
                    let noise = unit() + unit() + unit() - 1.5;
                    (*bytes as f64 * (1.1 + 0.2 * noise), *bytes)
                }));
                let change = paired_change(&base, &tuned, 400, *trial).unwrap();
                let truth = 0.1 / std::f64::consts::LN_2;
                change.low <= truth && truth <= change.high
            })
            .count();
        let share = covered as f64 / trials as f64;
        assert!((0.93..=0.97).contains(&share), "{share}");
    }

    /// The exact test against values worked out by hand.
    #[test]
    fn mcnemar_matches_the_binomial() {
        let pairs = |lost: usize, won: usize| {
            let base: Vec<bool> = (0..lost + won + 3)
                .map(|at| at < lost || at >= lost + won)
                .collect();
            let tuned: Vec<bool> = (0..lost + won + 3).map(|at| at >= lost).collect();
            mcnemar(&base, &tuned)
        };
        assert!((pairs(6, 0) - 2.0 / 64.0).abs() < 1e-12);
        assert!((pairs(1, 5) - 2.0 * 7.0 / 64.0).abs() < 1e-12);
        assert_eq!(pairs(0, 0), 1.0);
        assert_eq!(pairs(3, 3), 1.0);
    }
}
