//! Distribution of the largest statistic of each resample, for tests of many comparisons at once.

use crate::statistics::bootstrap::quantile;

/// Largest statistic over a family of comparisons in each resample (max-T; Westfall & Young 1993). It accounts for the
/// correlation of the comparisons.
#[derive(Debug, Clone)]
pub struct Maxima {
    /// Largest statistic of each resample, ascending.
    sorted: Vec<f64>,
}

impl Maxima {
    /// Collects the largest statistic of each resample.
    pub fn new(mut largest: Vec<f64>) -> Self {
        largest.sort_unstable_by(f64::total_cmp);
        Self { sorted: largest }
    }

    /// Returns the value that a share `level` of the resamples exceeds. The rank is rounded up, so that few resamples
    /// do not give too small a value.
    ///
    /// # Panics
    /// Panics without resamples.
    pub fn critical(&self, level: f64) -> f64 {
        let rank = ((1.0 - level) * (self.sorted.len() + 1) as f64).ceil() as usize;
        self.sorted[rank.clamp(1, self.sorted.len()) - 1]
    }

    /// Returns the value that a share `level` of the resamples exceeds, interpolated between two of them; 0 without
    /// resamples.
    pub(super) fn interpolated(&self, level: f64) -> f64 {
        match self.sorted.is_empty() {
            true => 0.0,
            false => quantile(&self.sorted, 1.0 - level),
        }
    }

    /// Returns the p-value of a statistic: the share of the resamples that reach it, never 0.
    pub(super) fn p_value(&self, statistic: f64) -> f64 {
        let beyond = self.sorted.len() - self.sorted.partition_point(|t| *t < statistic);
        (1 + beyond) as f64 / (1 + self.sorted.len()) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks the critical value, with its rank rounded up, and p-values against counts by hand.
    #[test]
    fn ranks_are_rounded_up() {
        let maxima = Maxima::new((1..=18).rev().map(f64::from).collect());
        // 0.95 · 19 = 18.05 is beyond the last rank, 0.5 · 19 = 9.5 becomes 10.
        assert_eq!(maxima.critical(0.05), 18.0);
        assert_eq!(maxima.critical(0.5), 10.0);
        // 0.03 · 19 = 0.57 becomes 1, and 0 is below the first rank.
        assert_eq!((maxima.critical(0.97), maxima.critical(1.0)), (1.0, 1.0));
        assert_eq!(maxima.interpolated(0.5), 9.5);
        assert_eq!(maxima.p_value(18.0), 2.0 / 19.0);
        assert_eq!(maxima.p_value(18.5), 1.0 / 19.0);
        assert_eq!(Maxima::new(Vec::new()).interpolated(0.05), 0.0);
    }
}
