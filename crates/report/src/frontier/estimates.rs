//! Estimates with intervals over document groups, domains and seeds.

use super::scored::{SplitOfAll, averaged};
use crate::ReportError;
use polymath_eval::DomainScores;
use polymath_eval::statistics::Figure;
use polymath_eval::statistics::{OverSeeds, paired_change};

const RESAMPLES: usize = 2000;

/// Returns the change in a domain, averaged over `runs`, with its interval over document groups.
///
/// # Errors
/// Fails if scores are not finite.
pub fn of_domain(split: &SplitOfAll, domain: &str, runs: &[usize]) -> Result<Figure, ReportError> {
    let (base, averaged) = split.base_and_mean(domain, runs);
    let change = paired_change(base, &averaged, RESAMPLES, 0)?;
    Ok(Figure {
        value: change.value,
        interval: change.interval,
    })
}

/// Negates an estimate and its interval: a gain is a negative change.
pub fn negated(figure: Figure) -> Figure {
    Figure {
        value: -figure.value,
        interval: figure.interval.map(|[low, high]| [-high, -low]),
    }
}

/// Widens an interval over document groups by the variation between seeds. The half-width of Student's t interval of
/// `values` (one for each seed) is added in quadrature (Zou & Donner 2008). A single seed adds nothing.
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

/// Returns the change in a domain from a base to a method with several runs, one for each seed: the mean over the
/// runs, with an interval over new document groups and new seeds. With one seed, the interval is over groups alone;
/// with fewer than five groups, there is none.
///
/// # Errors
/// Fails if a run was scored on other documents than the base, or if scores are not finite.
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
