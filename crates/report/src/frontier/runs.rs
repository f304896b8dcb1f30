//! The figures of one run.

use std::collections::BTreeMap;

use serde::Serialize;

use super::estimates::{of_domain, turned};
use super::scored::{Candidate, ScoredRun, SplitOfAll};
use crate::ReportError;
use polymath_eval::SplitScores;
use polymath_eval::statistics::Figure;
use polymath_eval::statistics::mean_figure;

/// What one run gained and forgot, in bits per byte, with intervals over groups of documents: other documents, the same run.
#[derive(Debug, Clone, Serialize)]
pub struct RunFigures {
    /// What it is of.
    #[serde(flatten)]
    pub candidate: Candidate,
    /// Fall on the niche, on the test split.
    pub gain: Figure,
    /// Rise of each retained domain on the test split.
    pub rises: BTreeMap<String, Figure>,
    /// Mean rise over the retained domains on the test split.
    pub mean_rise: Figure,
    /// Fall on the niche, on the dev split.
    pub development_gain: f64,
    /// The largest rise of a retained domain, on the dev split.
    pub development_worst: f64,
}

impl RunFigures {
    /// Compares a run's scores with the base's.
    ///
    /// # Errors
    /// Scores of other documents; no domain beside the niche.
    pub fn new(run: &ScoredRun, niche: &str, base: &SplitScores) -> Result<Self, ReportError> {
        let runs = std::slice::from_ref(run);
        let test = SplitOfAll::new(base, runs, |scored| &scored.test);
        let development = SplitOfAll::new(base, runs, |scored| &scored.dev);
        for split in [&test, &development] {
            split.check(runs)?;
        }
        Self::of((&test, &development), (run, 0), niche)
    }

    /// Of the `number`-th run of both splits.
    pub(super) fn of(
        (test, development): (&SplitOfAll, &SplitOfAll),
        (run, number): (&ScoredRun, usize),
        niche: &str,
    ) -> Result<Self, ReportError> {
        let mut rises = BTreeMap::new();
        for name in test.names().filter(|name| *name != niche) {
            rises.insert(name.clone(), of_domain(test, name, &[number])?);
        }
        let mean_rise = mean_figure(&rises.values().copied().collect::<Vec<_>>());
        let mean_rise = mean_rise.ok_or_else(|| {
            ReportError::Report(
                "there is no retained domain beside the niche: nothing can be forgotten".into(),
            )
        })?;
        let worst = rises.keys().map(|name| development.rise(name, number));
        Ok(Self {
            candidate: run.candidate.clone(),
            gain: turned(of_domain(test, niche, &[number])?),
            mean_rise,
            development_gain: -development.rise(niche, number),
            development_worst: worst.fold(f64::NEG_INFINITY, f64::max),
            rises,
        })
    }

    /// The largest rise of a retained domain.
    pub fn worst_forgetting(&self) -> f64 {
        let rises = self.rises.values().map(|rise| rise.value);
        rises.fold(f64::NEG_INFINITY, f64::max)
    }
}
