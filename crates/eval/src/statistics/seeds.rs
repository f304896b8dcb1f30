//! Variation of a result between seeds.

use serde::Serialize;

use super::student::t_quantile;

/// Mean over seeds with its 95 % interval by Student's t.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct OverSeeds {
    /// Mean over the seeds.
    pub mean: f64,
    /// 95 % interval over seeds; `None` for one seed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<[f64; 2]>,
}

impl OverSeeds {
    /// Computes the mean and the interval of one value per seed.
    pub fn of(values: &[f64]) -> Self {
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let interval = (values.len() > 1).then(|| {
            let half = t_quantile(0.975, count - 1.0) * (squares / (count - 1.0) / count).sqrt();
            [mean - half, mean + half]
        });
        Self { mean, interval }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that intervals of three and of forty seeds use Student's t, not the normal distribution.
    #[test]
    fn intervals_over_seeds() {
        let over = OverSeeds::of(&[1.0, 2.0, 3.0]);
        // The standard deviation is s = 1, so s/√3 = 0.57735; t with 2 degrees of freedom is 4.303.
        let [low, high] = over.interval.unwrap();
        assert!((over.mean - 2.0).abs() < 1e-12);
        assert!((low + 0.484).abs() < 1e-3 && (high - 4.484).abs() < 1e-3);
        assert_eq!(OverSeeds::of(&[1.0]).interval, None);
        let forty: Vec<f64> = (0..40).map(f64::from).collect();
        let [low, high] = OverSeeds::of(&forty).interval.unwrap();
        // s = 11.6905; t with 39 degrees of freedom is 2.022691.
        assert!(((high - low) / 2.0 - 2.022_691 * 11.690_452 / 40.0f64.sqrt()).abs() < 1e-4);
    }
}
