//! Figures with their intervals: over groups of documents, over domains, over seeds.

use serde::Serialize;

use super::joint::mean;
use super::scored::SplitOfAll;
use crate::EvalError;
use crate::statistics::{OverSeeds, paired_change};

pub use crate::statistics::FEWEST_GROUPS;

const RESAMPLES: usize = 2000;

/// A figure with its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Estimate {
    /// In bits per byte.
    pub value: f64,
    /// None where it rests on fewer than five groups of documents.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<[f64; 2]>,
}

impl Estimate {
    /// The change in a domain, the mean over `runs`, with its interval over groups of documents.
    ///
    /// # Errors
    /// Scores that are no numbers.
    pub fn of_domain(split: &SplitOfAll, domain: &str, runs: &[usize]) -> Result<Self, EvalError> {
        let (base, averaged) = split.base_and_mean(domain, runs);
        let change = paired_change(base, &averaged, RESAMPLES, 0)?;
        Ok(Self {
            value: change.value,
            interval: change.interval,
        })
    }

    /// The same with the sign turned: a gain is a fall.
    #[must_use]
    pub fn turned(self) -> Self {
        Self {
            value: -self.value,
            interval: self.interval.map(|[low, high]| [-high, -low]),
        }
    }

    /// The mean of several, whose documents are drawn apart: distances to the ends add up as squares (Zou & Donner 2008).
    pub fn mean(all: &[Self]) -> Self {
        let count = all.len() as f64;
        let value = mean(&all.iter().map(|one| one.value).collect::<Vec<_>>());
        let distance = |end: usize| {
            let squares = all
                .iter()
                .map(|one| Some((one.interval?[end] - one.value).powi(2)));
            Some(squares.sum::<Option<f64>>()?.sqrt() / count)
        };
        let interval = distance(0).zip(distance(1));
        Self {
            value,
            interval: interval.map(|(below, above)| [value - below, value + above]),
        }
    }

    /// With what another run would do added to what other documents would: `values` are the figure's by seed, and the distance
    /// to the ends of their interval by Student's t adds up as squares with that over groups (Zou & Donner 2008). One seed says
    /// nothing of another.
    #[must_use]
    pub fn over_seeds(self, values: &[f64]) -> Self {
        let Some([low, high]) = OverSeeds::of(values).interval else {
            return self;
        };
        let half = (high - low) / 2.0;
        let widened = |[low, high]: [f64; 2]| {
            [
                self.value - (self.value - low).hypot(half),
                self.value + (high - self.value).hypot(half),
            ]
        };
        Self {
            value: self.value,
            interval: self.interval.map(widened),
        }
    }
}
