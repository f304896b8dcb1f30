//! Linear axis that maps values to pixels.

/// Pixel positions of the ends of an axis.
#[derive(Clone, Copy)]
pub struct Pixels {
    /// Position of the lowest value.
    pub from: f64,
    /// Position of the highest value.
    pub to: f64,
}

/// Linear axis with round tick values.
pub struct Axis {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
    step: f64,
}

impl Axis {
    /// Makes an axis that contains all finite `values`, with about `ticks` ticks, between two pixel positions.
    pub fn new(values: impl Iterator<Item = f64>, ticks: f64, pixels: Pixels) -> Self {
        let (low, high) = values
            .filter(|value| value.is_finite())
            .fold((f64::MAX, f64::MIN), |(low, high), value| {
                (low.min(value), high.max(value))
            });
        let (low, high) = if low > high { (0.0, 1.0) } else { (low, high) };
        let span = (high - low).max(1e-3);
        let step = round_step(span / ticks);
        Self {
            low: low - 0.05 * span,
            high: high + 0.05 * span,
            from: pixels.from,
            to: pixels.to,
            step,
        }
    }

    /// Makes an axis of steps from 0 to `last`, without margins.
    pub fn of_steps(last: u64, ticks: f64, pixels: Pixels) -> Self {
        let high = last.max(1) as f64;
        Self {
            low: 0.0,
            high,
            from: pixels.from,
            to: pixels.to,
            step: round_step(high / ticks).max(1.0),
        }
    }

    /// Creates an axis from 0 to `last`, without margins and ticks.
    pub fn from_zero(last: f64, pixels: Pixels) -> Self {
        let high = if last > 0.0 { last } else { 1.0 };
        Self {
            low: 0.0,
            high,
            from: pixels.from,
            to: pixels.to,
            step: high,
        }
    }

    /// Returns the pixel position of a value.
    pub fn at(&self, value: f64) -> f64 {
        self.from + (value - self.low) / (self.high - self.low) * (self.to - self.from)
    }

    /// Returns the tick values: round numbers within the axis.
    pub fn ticks(&self) -> Vec<f64> {
        let first = (self.low / self.step).ceil() as i64;
        let last = (self.high / self.step).floor() as i64;
        (first..=last).map(|tick| tick as f64 * self.step).collect()
    }

    /// Formats a tick value with as many digits as distinguish it from the next.
    pub fn label(&self, tick: f64) -> String {
        let digits = (-self.step.log10().floor()).clamp(0.0, 6.0) as usize;
        format!("{tick:.digits$}").replace('-', "−")
    }

    /// Formats a tick value as [`Axis::label`] does, with a plus sign if it is positive.
    pub fn signed_label(&self, tick: f64) -> String {
        let plus = if tick > 0.0 { "+" } else { "" };
        format!("{plus}{}", self.label(tick))
    }
}

/// Returns 1, 2 or 5 times a power of ten: the smallest that is at least `rough`.
fn round_step(rough: f64) -> f64 {
    let power = 10f64.powf(rough.log10().floor());
    let units = [1.0, 2.0, 5.0, 10.0].map(|unit| unit * power);
    let fits = units.into_iter().find(|step| *step >= rough * 0.999);
    fits.unwrap_or(10.0 * power)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that tick values are round, within the axis, and shown without rounding errors.
    #[test]
    fn ticks_are_round() {
        let axis = Axis::new(
            [-0.41, 0.23].into_iter(),
            5.0,
            Pixels {
                from: 0.0,
                to: 100.0,
            },
        );
        let labels: Vec<String> = axis
            .ticks()
            .into_iter()
            .map(|tick| axis.signed_label(tick))
            .collect();
        assert_eq!(labels, ["−0.4", "−0.2", "0.0", "+0.2"]);
        for tick in axis.ticks() {
            assert!((0.0..=100.0).contains(&axis.at(tick)));
        }
        let steps = Axis::of_steps(
            300,
            3.0,
            Pixels {
                from: 0.0,
                to: 90.0,
            },
        );
        assert_eq!(steps.ticks(), [0.0, 100.0, 200.0, 300.0]);
        assert_eq!(steps.at(300.0), 90.0);
    }

    /// Checks that no value, a single value, and NaN still give an axis.
    #[test]
    fn degenerate_values_are_shown() {
        for values in [vec![], vec![0.0], vec![f64::NAN]] {
            let axis = Axis::new(
                values.into_iter(),
                5.0,
                Pixels {
                    from: 0.0,
                    to: 10.0,
                },
            );
            assert!(axis.at(0.0).is_finite() && axis.ticks().len() < 20);
        }
    }
}
