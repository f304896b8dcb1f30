//! How well one ranking forecasts another.

use serde::{Deserialize, Serialize};

/// Spearman's ρ with its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Correlation {
    /// From −1 to 1.
    pub value: f64,
    /// By Fisher's transformation with Bonett & Wright's (2000) error; it takes the pairs for independent.
    pub interval: [f64; 2],
    /// How many pairs it rests on.
    pub pairs: usize,
}

/// Spearman's ρ of pairs; `None` of fewer than 4, or where one side is all the same.
pub fn spearman(pairs: &[(f64, f64)]) -> Option<Correlation> {
    let count = pairs.len();
    let first = ranks(&pairs.iter().map(|pair| pair.0).collect::<Vec<_>>());
    let second = ranks(&pairs.iter().map(|pair| pair.1).collect::<Vec<_>>());
    let middle = (count as f64 - 1.0) / 2.0;
    let product = |a: &[f64], b: &[f64]| -> f64 {
        let both = a.iter().zip(b);
        both.map(|(a, b)| (a - middle) * (b - middle)).sum()
    };
    let scale = (product(&first, &first) * product(&second, &second)).sqrt();
    if count < 4 || scale == 0.0 {
        return None;
    }
    let value = (product(&first, &second) / scale).clamp(-1.0, 1.0);
    let error = ((1.0 + value * value / 2.0) / (count as f64 - 3.0)).sqrt();
    // Short of ±1, where the transformation has no end.
    let middle = value.clamp(-0.999_999, 0.999_999).atanh();
    let ends = [-1.96, 1.96].map(|z| (middle + z * error).tanh());
    Some(Correlation {
        value,
        interval: ends,
        pairs: count,
    })
}

/// Ranks from 0; equals share the mean of theirs.
fn ranks(values: &[f64]) -> Vec<f64> {
    values
        .iter()
        .map(|value| {
            let below = values.iter().filter(|other| *other < value).count();
            let equal = values.iter().filter(|other| *other == value).count();
            below as f64 + (equal as f64 - 1.0) / 2.0
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hand-made rankings, ties among them, and what says nothing.
    #[test]
    fn rankings_by_hand() {
        let rising = [(1.0, 10.0), (2.0, 20.0), (3.0, 25.0), (9.0, 26.0)];
        assert!((spearman(&rising).unwrap().value - 1.0).abs() < 1e-12);
        // d = 1, 1, 0, 0, 0: 1 − 6·2 / (5·24) = 0.9.
        let swapped = [(1.0, 2.0), (2.0, 1.0), (3.0, 3.0), (4.0, 4.0), (5.0, 5.0)];
        let found = spearman(&swapped).unwrap();
        assert!((found.value - 0.9).abs() < 1e-12);
        assert!(found.interval[0] < 0.9 && 0.9 < found.interval[1] && found.interval[1] < 1.0);
        let ties = [(1.0, 4.0), (1.0, 3.0), (2.0, 2.0), (2.0, 1.0)];
        // Ranks ½ ½ 2½ 2½ against 3 2 1 0.
        assert!((spearman(&ties).unwrap().value + 4.0 / (4.0f64 * 5.0).sqrt()).abs() < 1e-12);
        assert_eq!(spearman(&rising[..3]), None);
        assert_eq!(spearman(&[(1.0, 1.0); 6]), None);
    }
}
