//! McNemar's exact test.

/// The two-sided probability, were both models equally good, of a split at least as uneven among the questions that
/// only one of them answers.
///
/// The two must answer the same questions in the same order.
pub fn mcnemar(base: &[bool], tuned: &[bool]) -> f64 {
    let pairs = || base.iter().zip(tuned);
    let lost = pairs().filter(|(before, after)| **before && !**after);
    let won = pairs().filter(|(before, after)| !**before && **after);
    let (lost, won) = (lost.count(), won.count());
    let (differing, fewer) = (lost + won, lost.min(won));
    // 2 · Σ C(n, k) / 2ⁿ for k ≤ fewer, each term from the one before, in logarithms against underflow.
    let mut log_term = -(differing as f64) * std::f64::consts::LN_2;
    let mut tail = 0.0;
    for k in 0..=fewer {
        tail += log_term.exp();
        log_term += ((differing - k) as f64 / (k + 1) as f64).ln();
    }
    (2.0 * tail).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_split(lost: usize, won: usize) -> f64 {
        let total = lost + won + 3;
        let base: Vec<bool> = (0..total).map(|at| at < lost || at >= lost + won).collect();
        let tuned: Vec<bool> = (0..total).map(|at| at >= lost).collect();
        mcnemar(&base, &tuned)
    }

    /// The exact test gives the values worked out by hand from the binomial distribution.
    #[test]
    fn matches_the_binomial() {
        assert!((of_split(6, 0) - 2.0 / 64.0).abs() < 1e-12);
        assert!((of_split(1, 5) - 2.0 * 7.0 / 64.0).abs() < 1e-12);
        assert_eq!(of_split(0, 0), 1.0);
        assert_eq!(of_split(3, 3), 1.0);
    }

    /// Thousands of differing answers neither underflow nor overflow: close to the normal approximation.
    #[test]
    fn large_counts_stay_finite() {
        // 2 · (1 − Φ((1100 − 1000 − ½) / √500)) = 8.6e-6
        let p = of_split(1100, 900);
        assert!((7e-6..1e-5).contains(&p), "{p}");
    }
}
