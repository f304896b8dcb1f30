//! Mean of several figures.

use super::Figure;

/// Returns the mean with its interval; `None` for no figures. The figures are of independent domains, so the squared
/// distances to the interval's ends add up (Zou & Donner 2008). The mean has no interval if one of the figures has
/// none.
pub fn mean_figure(figures: &[Figure]) -> Option<Figure> {
    let count = figures.len() as f64;
    let value = figures.iter().map(|figure| figure.value).sum::<f64>() / count;
    let distance = |end: usize| -> Option<f64> {
        let squares = figures
            .iter()
            .map(|figure| Some((figure.value - figure.interval?[end]).powi(2)));
        Some(squares.sum::<Option<f64>>()?.sqrt() / count)
    };
    (!figures.is_empty()).then(|| Figure {
        value,
        interval: distance(0)
            .zip(distance(1))
            .map(|(below, above)| [value - below, value + above]),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that the squared distances to the ends add up, and that one figure without an interval leaves the mean
    /// without one.
    #[test]
    fn means_combine_intervals() {
        let figure = |value: f64, arm: Option<f64>| Figure {
            value,
            interval: arm.map(|arm| [value - arm, value + 2.0 * arm]),
        };
        let mean = mean_figure(&[figure(1.0, Some(3.0)), figure(3.0, Some(4.0))]).unwrap();
        assert_eq!((mean.value, mean.interval), (2.0, Some([-0.5, 7.0])));
        let mean = mean_figure(&[figure(1.0, Some(3.0)), figure(3.0, None)]).unwrap();
        assert_eq!((mean.value, mean.interval), (2.0, None));
        assert!(mean_figure(&[]).is_none());
    }
}
