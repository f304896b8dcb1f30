//! Ratio of two sums over document groups, and its standard error.

use std::collections::HashMap;

use crate::{DomainScores, EvalError};

/// Contribution of a group to the numerator and the denominator.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pair {
    /// nats_tuned − nats_base, summed over the group.
    pub nats: f64,
    /// UTF-8 bytes of the group's scored text.
    pub bytes: f64,
}

/// Sums over document groups, from which the ratio nats / bytes and its standard error follow.
#[derive(Default)]
pub(super) struct Sums {
    count: f64,
    pub nats: f64,
    pub bytes: f64,
    /// Σ bytes² over groups.
    squares: f64,
    /// Σ nats² over groups.
    nats_squares: f64,
    /// Σ nats · bytes over groups.
    products: f64,
}

impl Sums {
    pub fn of(pairs: impl Iterator<Item = Pair>) -> Self {
        pairs.fold(Self::default(), |sums, Pair { nats, bytes }| Self {
            count: sums.count + 1.0,
            nats: sums.nats + nats,
            bytes: sums.bytes + bytes,
            squares: sums.squares + bytes * bytes,
            nats_squares: sums.nats_squares + nats * nats,
            products: sums.products + nats * bytes,
        })
    }

    /// Returns the ratio in nats per byte; 0 for a resample of empty documents, which has no bytes.
    pub fn rate(&self) -> f64 {
        if self.bytes > 0.0 {
            self.nats / self.bytes
        } else {
            0.0
        }
    }

    /// Returns the standard error of the ratio: √(n/(n−1) · Σ (nats − rate · bytes)²) / Σ bytes.
    pub fn error(&self, rate: f64) -> f64 {
        let squares = self.nats_squares - 2.0 * rate * self.products + rate * rate * self.squares;
        let spread = squares.max(0.0) * self.count / (self.count - 1.0).max(1.0);
        if self.bytes > 0.0 {
            spread.sqrt() / self.bytes
        } else {
            0.0
        }
    }
}

/// Returns each group's nats minus `rate` · bytes. These numbers are small, which reduces rounding errors.
pub(super) fn centered(pairs: &[Pair], rate: f64) -> Vec<Pair> {
    let center = |pair: &Pair| Pair {
        nats: pair.nats - rate * pair.bytes,
        bytes: pair.bytes,
    };
    pairs.iter().map(center).collect()
}

/// Returns the sums of each group, in the order of first occurrence. Without groups, each document is its own group.
///
/// # Errors
/// Fails if the two models were scored on different documents, or if their groups do not match.
pub fn group_sums(base: &DomainScores, tuned: &DomainScores) -> Result<Vec<Pair>, EvalError> {
    let pairs = pairs(base, tuned)?;
    let groups = match (&base.groups[..], &tuned.groups[..]) {
        ([], []) => return Ok(pairs),
        ([], groups) | (groups, []) => groups,
        (groups, others) if groups == others => groups,
        _ => {
            return Err(EvalError::Scores(
                "base and tuned model were scored on documents of different groups: score both with the same dataset"
                    .into(),
            ));
        }
    };
    if groups.len() != pairs.len() {
        return Err(EvalError::Scores(format!(
            "there are groups of {} documents, but scores of {}: score again with the same dataset",
            groups.len(),
            pairs.len()
        )));
    }
    let mut places: HashMap<u64, usize> = HashMap::new();
    let mut sums: Vec<Pair> = Vec::new();
    for (group, pair) in groups.iter().zip(pairs) {
        let place = *places.entry(*group).or_insert(sums.len());
        if place == sums.len() {
            sums.push(pair);
        } else {
            sums[place].nats += pair.nats;
            sums[place].bytes += pair.bytes;
        }
    }
    Ok(sums)
}

/// Returns each document's contribution to the numerator and the denominator.
fn pairs(base: &DomainScores, tuned: &DomainScores) -> Result<Vec<Pair>, EvalError> {
    let same = base.documents.len() == tuned.documents.len()
        && base
            .documents
            .iter()
            .zip(&tuned.documents)
            .all(|(before, after)| before.bytes == after.bytes);
    if !same {
        return Err(EvalError::Scores(format!(
            "base and tuned model were scored on different documents ({} and {}): score both with the same dataset \
             and the same `--max-tokens`",
            base.documents.len(),
            tuned.documents.len()
        )));
    }
    if base.bytes() == 0 {
        return Err(EvalError::Scores(
            "there is no held-out text to compare on".into(),
        ));
    }
    base.documents
        .iter()
        .zip(&tuned.documents)
        .enumerate()
        .map(|(at, (before, after))| {
            let pair = Pair {
                nats: after.nats - before.nats,
                bytes: before.bytes as f64,
            };
            pair.nats.is_finite().then_some(pair).ok_or_else(|| {
                EvalError::Scores(format!(
                    "the scores of held-out document `{at}` are not finite (base `{}`, tuned `{}` nats): a run may have \
                     diverged",
                    before.nats, after.nats
                ))
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DocumentScore;

    fn scores(groups: &[u64], nats: &[f64]) -> DomainScores {
        let document = |nats: &f64| DocumentScore {
            nats: *nats,
            tokens: 1,
            bytes: 10,
        };
        DomainScores {
            documents: nats.iter().map(document).collect(),
            groups: groups.to_vec(),
            ..DomainScores::default()
        }
    }

    /// Checks the ratio and its standard error by hand, and that rounding never makes the error of an exact ratio
    /// undefined.
    #[test]
    fn errors_are_those_by_hand() {
        let pair = |nats, bytes| Pair { nats, bytes };
        let sums = Sums::of([pair(1.0, 2.0), pair(5.0, 4.0), pair(0.0, 4.0)].into_iter());
        assert_eq!(sums.rate(), 0.6);
        // Residuals −0.2, 2.6 and −2.4: √(3/2 · 12.56) / 10.
        assert!((sums.error(0.6) - 18.84f64.sqrt() / 10.0).abs() < 1e-12);
        // One group, and no bytes.
        assert_eq!(Sums::of([pair(3.0, 2.0)].into_iter()).error(1.0), 0.5);
        let empty = Sums::of([pair(0.0, 0.0)].into_iter());
        assert_eq!((empty.rate(), empty.error(0.0)), (0.0, 0.0));
        for factor in 1..300 {
            let rate = f64::from(factor) / 70.0;
            let exact = Sums::of((1..9).map(|at| pair(rate * f64::from(at), f64::from(at))));
            let error = exact.error(exact.rate());
            assert!((0.0..1e-6).contains(&error), "{rate}: {error}");
        }
    }

    /// Checks that the documents of a group are summed in any order, and that the groups of one model are used if the
    /// other has none.
    #[test]
    fn documents_of_a_group_are_summed() {
        let base = scores(&[7, 9, 7], &[1.0, 2.0, 3.0]);
        let tuned = scores(&[], &[2.0, 4.0, 8.0]);
        let sums = group_sums(&base, &tuned).unwrap();
        let expected = [(6.0, 20.0), (2.0, 10.0)];
        assert_eq!(sums, expected.map(|(nats, bytes)| Pair { nats, bytes }));
        assert_eq!(group_sums(&tuned, &tuned).unwrap().len(), 3);
    }

    /// Checks that groups are refused if they match neither the documents nor each other.
    #[test]
    fn mismatched_groups_are_refused() {
        let base = scores(&[7, 9, 7], &[1.0; 3]);
        let refused = |tuned: &DomainScores| group_sums(&base, tuned).unwrap_err().to_string();
        assert!(refused(&scores(&[7, 7, 9], &[1.0; 3])).contains("different groups"));
        let short = scores(&[7, 9], &[1.0; 3]);
        assert!(
            group_sums(&short, &short)
                .unwrap_err()
                .to_string()
                .contains("groups of 2")
        );
    }
}
