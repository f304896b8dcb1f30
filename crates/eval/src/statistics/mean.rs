//! The mean of several figures.

use crate::report::Figure;

/// The mean with its interval: the domains' documents are drawn apart, so the distances to the ends add up as squares
/// (Zou & Donner 2008).
pub fn mean_figure(figures: &[Figure]) -> Option<Figure> {
    let count = figures.len() as f64;
    let value = figures.iter().map(|figure| figure.value).sum::<f64>() / count;
    let distance = |end: usize| {
        let squares = figures
            .iter()
            .map(|figure| (figure.value - figure.interval[end]).powi(2));
        squares.sum::<f64>().sqrt() / count
    };
    (!figures.is_empty()).then(|| Figure {
        value,
        interval: [value - distance(0), value + distance(1)],
    })
}
