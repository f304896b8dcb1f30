//! Holm's correction for several tests.

/// Adjusts p-values that are tested together so that the probability of even one false rejection stays below the level
/// (Holm 1979): the k-th smallest of n is multiplied by n − k + 1, and none is below a smaller one's.
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

    /// By hand: 4 · 0.005, 3 · 0.01, 2 · 0.03, and 0.04 raised to the previous 0.06.
    #[test]
    fn matches_values_by_hand() {
        let adjusted = holm(&[0.01, 0.04, 0.03, 0.005]);
        for (found, expected) in adjusted.iter().zip([0.03, 0.06, 0.06, 0.02]) {
            assert!((found - expected).abs() < 1e-12, "{adjusted:?}");
        }
    }

    /// A single test is unchanged, no tests give none, and no adjusted value exceeds 1.
    #[test]
    fn edges_hold() {
        assert_eq!(holm(&[0.2]), [0.2]);
        assert!(holm(&[]).is_empty());
        assert_eq!(holm(&[0.9, 0.8]), [1.0, 1.0]);
    }
}
