//! What another run would do.

use serde::Serialize;

/// A mean over seeds with its 95 % interval by Student's t; none from one seed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct OverSeeds {
    /// The mean.
    pub mean: f64,
    /// Over seeds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<[f64; 2]>,
}

impl OverSeeds {
    /// Of one value a seed.
    pub fn of(values: &[f64]) -> Self {
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let interval = (values.len() > 1).then(|| {
            let half = student_95(values.len() - 1) * (squares / (count - 1.0) / count).sqrt();
            [mean - half, mean + half]
        });
        Self { mean, interval }
    }
}

/// The end of Student's two-sided 95 % interval for few degrees of freedom; from 30 on that of the normal distribution,
/// within 4 %.
fn student_95(freedom: usize) -> f64 {
    const ENDS: [f64; 29] = [
        12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
        2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056,
        2.052, 2.048, 2.045,
    ];
    ENDS.get(freedom - 1).copied().unwrap_or(1.96)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three seeds' interval is Student's.
    #[test]
    fn intervals_over_seeds() {
        let over = OverSeeds::of(&[1.0, 2.0, 3.0]);
        // s = 1, s/√3 = 0.57735, t = 4.303.
        let [low, high] = over.interval.unwrap();
        assert!((over.mean - 2.0).abs() < 1e-12);
        assert!((low + 0.484).abs() < 1e-3 && (high - 4.484).abs() < 1e-3);
        assert_eq!(OverSeeds::of(&[1.0]).interval, None);
    }
}
