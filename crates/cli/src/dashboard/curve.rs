//! The losses of a run in bounded memory, however long it is.

/// The most points that are kept; two become one when there are more.
const MOST_POINTS: usize = 1024;

/// Losses of one or more steps that follow each other.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// The last step.
    pub step: u64,
    pub lowest: f64,
    pub highest: f64,
    /// The smoothed loss after the last step.
    pub smooth: f64,
}

/// The loss over the steps, as it was and smoothed.
pub struct Curve {
    /// The first step.
    begin: u64,
    points: Vec<Point>,
    /// Steps that a point holds, and those that the last one holds already.
    steps: (u64, u64),
    smooth: Mean,
}

impl Curve {
    /// Smoothed over about so many steps.
    pub fn over(steps: u64) -> Self {
        Self {
            begin: 0,
            points: Vec::new(),
            steps: (1, 1),
            smooth: Mean::over(steps as f64),
        }
    }

    pub fn points(&self) -> &[Point] {
        &self.points
    }

    /// The first and the last step.
    pub fn steps(&self) -> Option<[u64; 2]> {
        Some([self.begin, self.points.last()?.step])
    }

    /// The smoothed loss, once there is one.
    pub fn smooth(&self) -> Option<f64> {
        self.smooth.value()
    }

    /// Takes the next step in.
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
        if self.points.len() == MOST_POINTS {
            self.thin();
        }
        self.points.push(Point {
            step,
            lowest: loss,
            highest: loss,
            smooth,
        });
        self.steps.1 = 1;
    }

    /// Two neighbours become one.
    fn thin(&mut self) {
        let pairs = self.points.chunks_exact(2).map(|pair| Point {
            lowest: pair[0].lowest.min(pair[1].lowest),
            highest: pair[0].highest.max(pair[1].highest),
            ..pair[1]
        });
        self.points = pairs.collect();
        self.steps.0 *= 2;
    }
}

/// A mean in which a value counts less, the older it is: by 1/e over `over` newer ones.
pub struct Mean {
    keep: f64,
    sum: f64,
    weight: f64,
}

impl Mean {
    pub fn over(values: f64) -> Self {
        Self {
            keep: (-1.0 / values.max(1.0)).exp(),
            sum: 0.0,
            weight: 0.0,
        }
    }

    /// Takes a value in, and says the mean.
    pub fn push(&mut self, value: f64) -> f64 {
        self.sum = self.sum * self.keep + value;
        self.weight = self.weight * self.keep + 1.0;
        self.sum / self.weight
    }

    /// The mean of what there was, if there was anything.
    pub fn value(&self) -> Option<f64> {
        (self.weight > 0.0).then(|| self.sum / self.weight)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A long run takes the memory of a short one, and no extreme is lost.
    #[test]
    fn points_are_merged_in_order() {
        let mut curve = Curve::over(10);
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
        assert!(points.len() <= MOST_POINTS && points.len() >= MOST_POINTS / 2);
        assert_eq!(curve.steps(), Some([1, 10_000]));
        assert!(points.windows(2).all(|pair| pair[0].step < pair[1].step));
        assert_eq!(
            points.iter().filter(|point| point.highest == 99.0).count(),
            1
        );
        assert_eq!(points[0].lowest, 1e-4);
    }

    /// The mean of equal values is that value from the first one on, and it follows a change.
    #[test]
    fn the_mean_has_no_bias() {
        let mut mean = Mean::over(5.0);
        assert_eq!(mean.value(), None);
        assert!((0..3).all(|_| (mean.push(2.0) - 2.0).abs() < 1e-12));
        let after: f64 = (0..50).map(|_| mean.push(3.0)).last().unwrap();
        assert!((after - 3.0).abs() < 1e-3, "{after}");
    }
}
