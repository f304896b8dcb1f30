//! Loss curve of a run in bounded memory.

/// Maximum number of points. Beyond it, neighboring points are merged.
const MAX_POINTS: usize = 1024;

/// Losses of one or more consecutive steps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LossPoint {
    /// Last step that the point contains.
    pub step: u64,
    pub lowest: f64,
    pub highest: f64,
    /// Smoothed loss after the point's last step.
    pub smooth: f64,
}

/// Loss of each step, raw and smoothed.
pub struct LossCurve {
    /// Step before the first point.
    begin: u64,
    points: Vec<LossPoint>,
    /// Number of steps that each point of the curve covers, and number of steps in the last point so far.
    steps: (u64, u64),
    smooth: DecayingMean,
}

impl LossCurve {
    /// Makes an empty curve whose smoothing spans about `steps` steps.
    pub fn over(steps: u64) -> Self {
        Self {
            begin: 0,
            points: Vec::new(),
            steps: (1, 1),
            smooth: DecayingMean::over(steps as f64),
        }
    }

    pub fn points(&self) -> &[LossPoint] {
        &self.points
    }

    /// Returns the first and the last step, or `None` without points.
    pub fn steps(&self) -> Option<[u64; 2]> {
        Some([self.begin, self.points.last()?.step])
    }

    /// Returns the current smoothed loss, or `None` without points.
    pub fn smooth(&self) -> Option<f64> {
        self.smooth.value()
    }

    /// Adds the loss of a step.
    pub fn push(&mut self, step: u64, loss: f64) {
        let smooth = self.smooth.push(loss);
        let (wanted, held) = self.steps;
        if held < wanted
            && let Some(last) = self.points.last_mut()
        {
            last.step = step;
            last.lowest = last.lowest.min(loss);
            last.highest = last.highest.max(loss);
            last.smooth = smooth;
            self.steps.1 += 1;
            return;
        }
        if self.points.is_empty() {
            self.begin = step;
        }
        if self.points.len() == MAX_POINTS {
            self.merge_pairs();
        }
        self.points.push(LossPoint {
            step,
            lowest: loss,
            highest: loss,
            smooth,
        });
        self.steps.1 = 1;
    }

    /// Merges each pair of neighboring points.
    fn merge_pairs(&mut self) {
        let pairs = self.points.chunks_exact(2).map(|pair| LossPoint {
            lowest: pair[0].lowest.min(pair[1].lowest),
            highest: pair[0].highest.max(pair[1].highest),
            ..pair[1]
        });
        self.points = pairs.collect();
        self.steps.0 *= 2;
    }
}

/// Exponentially decaying mean: the weight of a value falls by a factor of e over `over` newer values.
pub struct DecayingMean {
    keep: f64,
    sum: f64,
    weight: f64,
}

impl DecayingMean {
    pub fn over(values: f64) -> Self {
        Self {
            keep: (-1.0 / values.max(1.0)).exp(),
            sum: 0.0,
            weight: 0.0,
        }
    }

    /// Adds a value and returns the mean.
    pub fn push(&mut self, value: f64) -> f64 {
        self.sum = self.sum * self.keep + value;
        self.weight = self.weight * self.keep + 1.0;
        self.sum / self.weight
    }

    /// Returns the mean, or `None` without values.
    pub fn value(&self) -> Option<f64> {
        (self.weight > 0.0).then(|| self.sum / self.weight)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that a long run takes no more memory than a short one, and that the extreme losses are kept.
    #[test]
    fn points_are_merged_in_order() {
        let mut curve = LossCurve::over(10);
        for step in 1..=10_000u64 {
            curve.push(
                step,
                if step == 1234 {
                    99.0
                } else {
                    step as f64 / 1e4
                },
            );
        }
        let points = curve.points();
        assert!(points.len() <= MAX_POINTS && points.len() >= MAX_POINTS / 2);
        assert_eq!(curve.steps(), Some([1, 10_000]));
        assert!(points.windows(2).all(|pair| pair[0].step < pair[1].step));
        assert_eq!(
            points.iter().filter(|point| point.highest == 99.0).count(),
            1
        );
        assert_eq!(points[0].lowest, 1e-4);
    }

    /// Checks that the mean of a constant is the constant from the first value on, and that the mean follows a
    /// change.
    #[test]
    fn the_mean_has_no_bias() {
        let mut mean = DecayingMean::over(5.0);
        assert_eq!(mean.value(), None);
        assert!((0..3).all(|_| (mean.push(2.0) - 2.0).abs() < 1e-12));
        let after: f64 = (0..50).map(|_| mean.push(3.0)).last().unwrap();
        assert!((after - 3.0).abs() < 1e-3, "{after}");
    }
}
