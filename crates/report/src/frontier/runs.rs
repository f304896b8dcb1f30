//! Results of one run.

use std::collections::BTreeMap;

use serde::Serialize;

use super::estimates::{negated, of_domain};
use super::scored::{Candidate, ScoredRun, SplitOfAll, Splits};
use crate::ReportError;
use polymath_eval::SplitScores;
use polymath_eval::statistics::Figure;
use polymath_eval::statistics::mean_figure;

/// Gain and forgetting of one run in bits per byte, with intervals over document groups (not over seeds).
#[derive(Debug, Clone, Serialize)]
pub struct RunFigures {
    /// Method, seed and cost of the run.
    #[serde(flatten)]
    pub candidate: Candidate,
    /// Gain on the niche, on the test split.
    pub gain: Figure,
    /// Change of each retained domain on the test split.
    pub rises: BTreeMap<String, Figure>,
    /// Mean change over the retained domains on the test split.
    pub mean_rise: Figure,
    /// Gain on the niche, on the dev split.
    pub dev_gain: f64,
    /// Largest change of a retained domain, on the dev split.
    pub dev_worst: f64,
}

impl RunFigures {
    /// Compares the scores of a run with those of the base.
    ///
    /// # Errors
    /// Fails if the run was scored on other documents or there is no retained domain.
    pub fn new(run: &ScoredRun, niche: &str, base: &SplitScores) -> Result<Self, ReportError> {
        let runs = std::slice::from_ref(run);
        let test = SplitOfAll::new(base, runs, |scored| &scored.test);
        let dev = SplitOfAll::new(base, runs, |scored| &scored.dev);
        for split in [&test, &dev] {
            split.check(runs)?;
        }
        let splits = Splits {
            test: &test,
            dev: &dev,
        };
        Self::of(splits, run, 0, niche)
    }

    /// Computes the results of run `number` on both splits.
    pub(super) fn of(
        splits: Splits,
        run: &ScoredRun,
        number: usize,
        niche: &str,
    ) -> Result<Self, ReportError> {
        let Splits { test, dev } = splits;
        let mut rises = BTreeMap::new();
        for name in test.names().filter(|name| *name != niche) {
            rises.insert(name.clone(), of_domain(test, name, &[number])?);
        }
        let mean_rise = mean_figure(&rises.values().copied().collect::<Vec<_>>());
        let mean_rise = mean_rise.ok_or_else(|| {
            ReportError::Report(
                "there is no retained domain beside the niche: forgetting can't be measured".into(),
            )
        })?;
        let worst = rises.keys().map(|name| dev.rise(name, number));
        Ok(Self {
            candidate: run.candidate.clone(),
            gain: negated(of_domain(test, niche, &[number])?),
            mean_rise,
            dev_gain: -dev.rise(niche, number),
            dev_worst: worst.fold(f64::NEG_INFINITY, f64::max),
            rises,
        })
    }

    /// Returns the largest change of a retained domain.
    pub fn worst_forgetting(&self) -> f64 {
        let rises = self.rises.values().map(|rise| rise.value);
        rises.fold(f64::NEG_INFINITY, f64::max)
    }
}
