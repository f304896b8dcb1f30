//! Figures with their intervals: over groups of documents, over domains, over seeds.

use super::scored::{SplitOfAll, averaged};
use crate::ReportError;
use polymath_eval::DomainScores;
use polymath_eval::statistics::Figure;
use polymath_eval::statistics::{OverSeeds, paired_change};

const RESAMPLES: usize = 2000;

/// The change in a domain, the mean over `runs`, with its interval over groups of documents.
///
/// # Errors
/// Scores that are no numbers.
pub fn of_domain(split: &SplitOfAll, domain: &str, runs: &[usize]) -> Result<Figure, ReportError> {
    let (base, averaged) = split.base_and_mean(domain, runs);
    let change = paired_change(base, &averaged, RESAMPLES, 0)?;
    Ok(Figure {
        value: change.value,
        interval: change.interval,
    })
}

/// The same with the sign turned: a gain is a fall.
pub fn turned(figure: Figure) -> Figure {
    Figure {
        value: -figure.value,
        interval: figure.interval.map(|[low, high]| [-high, -low]),
    }
}

/// A figure over groups of documents, with what another run would do added to what other documents would: `values` are the
/// figure's by seed, and the distance to the ends of their interval by Student's t adds up as squares with that over groups
/// (Zou & Donner 2008). One seed says nothing of another.
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

/// The change in a domain from a base to a method, of which there is a run for each seed: the mean over the runs, with an interval
/// that holds what new groups of documents and new seeds give; none below five groups. Of one seed, over groups alone.
///
/// # Errors
/// Runs that were scored on other documents than the base; scores that are no numbers.
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
