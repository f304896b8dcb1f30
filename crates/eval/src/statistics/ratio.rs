//! The ratio of two sums over documents, and what its standard error is made of.

use crate::{DomainScores, EvalError};

/// What one document adds to both sums of the ratio.
#[derive(Clone, Copy)]
pub(super) struct Pair {
    /// nats_tuned − nats_base
    pub nats: f64,
    pub bytes: f64,
}

/// The sums over some documents that a ratio and its standard error are made of.
#[derive(Default)]
pub(super) struct Sums {
    count: f64,
    pub nats: f64,
    pub bytes: f64,
    /// Σ bytes²
    squares: f64,
    /// Σ nats²
    nats_squares: f64,
    /// Σ nats · bytes
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

    /// Nats a byte. Only a resample of empty documents alone has no bytes: it shows no change.
    pub fn rate(&self) -> f64 {
        if self.bytes > 0.0 {
            self.nats / self.bytes
        } else {
            0.0
        }
    }

    /// √(n/(n−1) · Σ (nats − rate · bytes)²) / Σ bytes
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

pub(super) fn pairs(base: &DomainScores, tuned: &DomainScores) -> Result<Vec<Pair>, EvalError> {
    let same = base.documents.len() == tuned.documents.len()
        && base
            .documents
            .iter()
            .zip(&tuned.documents)
            .all(|(before, after)| before.bytes == after.bytes);
    if !same {
        return Err(EvalError::Report(format!(
            "base and tuned model were scored on different documents ({} and {}): score both with the same data set \
             and the same `--max-tokens`",
            base.documents.len(),
            tuned.documents.len()
        )));
    }
    if base.bytes() == 0 {
        return Err(EvalError::Report(
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
                EvalError::Report(format!(
                    "the scores of held-out document `{at}` are not finite (base `{}`, tuned `{}` nats): has a run \
                     diverged?",
                    before.nats, after.nats
                ))
            })
        })
        .collect()
}

/// How many documents of one size, whose changes scatter normally, would tell as much, of `centred` ones (e, bytes): the
/// least of
///
/// - (Σ bytes)² / Σ bytes² (Kish 1965),
/// - 2 n / (κ − 1) + 1 with κ = n · Σ e⁴ / (Σ e²)²: as many show as little of the spread, whose estimate varies with the
///   fourth moment (Satterthwaite 1946),
///
/// and 3 at least, below which Student's expansion is of no use.
pub(super) fn effective_documents(centred: &[Pair]) -> f64 {
    let count = centred.len() as f64;
    let sum = |of: fn(&Pair) -> f64| centred.iter().map(of).sum::<f64>();
    let kish = sum(|pair| pair.bytes).powi(2) / sum(|pair| pair.bytes.powi(2));
    let squares = sum(|pair| pair.nats.powi(2));
    let kurtosis = count * sum(|pair| pair.nats.powi(4)) / squares.powi(2);
    let freedom = 2.0 * count / (kurtosis - 1.0).max(1e-9);
    // Where nothing scatters, the kurtosis is no number, which `min` passes over.
    kish.min(freedom + 1.0).max(3.0)
}
