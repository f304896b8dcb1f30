//! Holm's correction for multiple tests.

/// Adjusts p-values of tests that belong together, so that the probability of even one false rejection is at most the
/// level (Holm 1979). The k-th smallest of n p-values is multiplied by n − k + 1; an adjusted value is at least that
/// of any smaller p-value, and at most 1.
pub fn holm(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|a, b| p_values[*a].total_cmp(&p_values[*b]));
    let mut adjusted = vec![1.0; p_values.len()];
    let mut least = 0.0f64;
    for (rank, at) in order.into_iter().enumerate() {
        let factor = (p_values.len() - rank) as f64;
        least = least.max((p_values[at] * factor).min(1.0));
        adjusted[at] = least;
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks values computed by hand: 4 · 0.005, 3 · 0.01, 2 · 0.03, and 0.04 raised to the previous 0.06.
    #[test]
    fn matches_values_by_hand() {
        let adjusted = holm(&[0.01, 0.04, 0.03, 0.005]);
        for (found, expected) in adjusted.iter().zip([0.03, 0.06, 0.06, 0.02]) {
            assert!((found - expected).abs() < 1e-12, "{adjusted:?}");
        }
    }

    /// Checks that a single p-value is unchanged, that no p-values give none, and that no adjusted value exceeds 1.
    #[test]
    fn edges_hold() {
        assert_eq!(holm(&[0.2]), [0.2]);
        assert!(holm(&[]).is_empty());
        assert_eq!(holm(&[0.9, 0.8]), [1.0, 1.0]);
    }
}
