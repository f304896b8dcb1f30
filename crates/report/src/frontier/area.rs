//! Pareto-optimal points and their hypervolume.

/// Returns for each point (gain, forgetting) the index of the first point that dominates it: at least as good in
/// both, and better in one. Returns `None` for a point that no other dominates.
pub fn pareto(points: &[(f64, f64)]) -> Vec<Option<usize>> {
    let beats = |a: &(f64, f64), b: &(f64, f64)| a.0 >= b.0 && a.1 <= b.1 && a != b;
    points
        .iter()
        .map(|point| points.iter().position(|other| beats(other, point)))
        .collect()
}

/// Returns the area between the points (gain, forgetting) and the corner (0, `reference`): gain times avoided
/// forgetting, in one number. Points without gain, or with more forgetting than the reference, add nothing.
pub fn hypervolume(points: &[(f64, f64)], reference: f64) -> f64 {
    let mut inside: Vec<(f64, f64)> = points
        .iter()
        .copied()
        .filter(|(gain, forgetting)| *gain > 0.0 && *forgetting < reference)
        .collect();
    // By descending gain, each point adds the area below the least forgetting so far.
    inside.sort_by(|a, b| b.0.total_cmp(&a.0));
    let (mut area, mut least) = (0.0, reference);
    for (gain, forgetting) in inside {
        if forgetting < least {
            area += gain * (least - forgetting);
            least = forgetting;
        }
    }
    area
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks dominated points, the points that dominate them, and the area, against values computed by hand.
    #[test]
    fn frontiers_match_values_by_hand() {
        let points = [(3.0, 1.0), (2.0, 0.2), (1.9, 0.3), (1.0, 0.0), (3.0, 1.0)];
        assert_eq!(pareto(&points), [None, None, Some(1), None, None]);
        // From the corner (0, 1): the second point covers 2 × 0.8, the fourth 1 × 0.2 more; the first touches the
        // reference.
        assert!((hypervolume(&points, 1.0) - 1.8).abs() < 1e-12);
        assert_eq!(hypervolume(&[(-1.0, 0.1), (1.0, 2.0)], 1.0), 0.0);
    }
}
