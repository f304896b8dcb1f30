//! Figures with intervals over document groups, domains and seeds.

use super::scored::{SplitOfAll, averaged};
use crate::ReportError;
use polymath_eval::DomainScores;
use polymath_eval::statistics::Figure;
use polymath_eval::statistics::{OverSeeds, paired_change};

const RESAMPLES: usize = 2000;

/// Returns the change in a domain, averaged over `runs`, with its interval over document groups.
///
/// # Errors
/// Scores that are not finite.
pub fn of_domain(split: &SplitOfAll, domain: &str, runs: &[usize]) -> Result<Figure, ReportError> {
    let (base, averaged) = split.base_and_mean(domain, runs);
    let change = paired_change(base, &averaged, RESAMPLES, 0)?;
    Ok(Figure {
        value: change.value,
        interval: change.interval,
    })
}

/// Negates a figure: a gain is a negative change.
pub fn negated(figure: Figure) -> Figure {
    Figure {
        value: -figure.value,
        interval: figure.interval.map(|[low, high]| [-high, -low]),
    }
}

/// Widens a figure's interval over document groups by the variation between seeds: the half-width of Student's t
/// interval of `values` (the figure by seed) is added in squares (Zou & Donner 2008). A single seed adds nothing.
pub fn over_seeds(figure: Figure, values: &[f64]) -> Figure {
    let Some([low, high]) = OverSeeds::of(values).interval else {
        return figure;
    };
    let half = (high - low) / 2.0;
    let widened = |[low, high]: [f64; 2]| {
        [
            figure.value - (figure.value - low).hypot(half),
            figure.value + (high - figure.value).hypot(half),
        ]
    };
    Figure {
        value: figure.value,
        interval: figure.interval.map(widened),
    }
}

/// Returns the change in a domain from a base to a method with a run per seed: the mean over runs, with an interval
/// over new document groups and new seeds. No interval with fewer than five groups; over groups alone for one seed.
///
/// # Errors
/// Runs scored on other documents than the base; scores that are not finite.
pub fn change_over_seeds(
    base: &DomainScores,
    runs: &[&DomainScores],
) -> Result<Figure, ReportError> {
    let mut values = Vec::new();
    for run in runs {
        values.push(paired_change(base, run, 1, 0)?.value);
    }
    let change = paired_change(base, &averaged(base, runs), RESAMPLES, 0)?;
    let figure = Figure {
        value: change.value,
        interval: change.interval,
    };
    Ok(over_seeds(figure, &values))
}
