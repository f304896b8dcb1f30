//! Results of a method over its seeds.

use std::collections::BTreeMap;

use serde::Serialize;

use super::estimates::{negated, of_domain, over_seeds};
use super::runs::RunFigures;
use super::scored::Splits;
use crate::ReportError;
use polymath_eval::statistics::{Figure, mean, mean_figure};

/// Retained domain with the largest loss on the dev split, and its change on the test split. Choosing it and
/// measuring it on the same documents would overestimate the loss. The seeds are the same on both splits.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WorstDomain {
    /// Name of the domain.
    pub domain: String,
    /// Change on the test split.
    #[serde(flatten)]
    pub rise: Figure,
}

/// Differences of a method's results from the reference's, with simultaneous 95 % intervals over all methods.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Difference {
    /// Gain minus the reference's gain.
    pub gain: Figure,
    /// Mean forgetting minus that of the reference.
    pub mean_forgetting: Figure,
}

/// Results of a method over its seeds, or of the mixture of a method with the base.
#[derive(Debug, Clone, Serialize)]
pub struct Method {
    /// Name, including the share for a mixture.
    pub name: String,
    /// Share of the tuned weights, for a mixture with the base; `None` for a trained method.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share: Option<f64>,
    /// Number of seeds, and therefore of runs.
    pub seeds: usize,
    /// Difference from the reference; `None` for the reference itself, and if nothing is compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub against_reference: Option<Difference>,
    /// Gain on the niche in bits per byte, with its interval.
    pub gain: Figure,
    /// Mean forgetting over the retained domains in bits per byte, with its interval.
    pub mean_forgetting: Figure,
    /// Retained domain with the largest loss.
    pub worst: WorstDomain,
    /// Change of each retained domain in bits per byte, by domain.
    pub rises: BTreeMap<String, Figure>,
    /// Training tokens of each run.
    pub tokens: u64,
    /// Mean training time in seconds.
    pub seconds: f64,
    /// True if no other method gains significantly more and forgets significantly less.
    pub on_the_frontier: bool,
    /// Share of resamples in which no other method dominates this one; `None` if nothing is compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frontier_share: Option<f64>,
    /// Among the methods that gain significantly more and forget significantly less than this one, the one with the
    /// largest gain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beaten_by: Option<String>,
    /// Among the methods that are better in gain and forgetting, but not significantly, the one with the largest
    /// gain. `None` if a method is significantly better.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_told_apart_from: Option<String>,
}

impl Method {
    /// Computes the results over the runs with the given indices.
    pub(super) fn of(
        splits: Splits,
        all: &[RunFigures],
        numbers: &[usize],
        niche: &str,
    ) -> Result<Self, ReportError> {
        let Splits { test, dev } = splits;
        let runs: Vec<&RunFigures> = numbers.iter().map(|number| &all[*number]).collect();
        let by_seed = |figure: &dyn Fn(&RunFigures) -> f64| -> Vec<f64> {
            runs.iter().map(|run| figure(run)).collect()
        };
        let candidate = &runs[0].candidate;
        let (mut over_groups, mut rises) = (Vec::new(), BTreeMap::new());
        for name in runs[0].rises.keys() {
            let rise = of_domain(test, name, numbers)?;
            let values = by_seed(&|run| run.rises[name].value);
            rises.insert(name.clone(), over_seeds(rise, &values));
            over_groups.push(rise);
        }
        let lost = |name: &String| {
            let rises = numbers.iter().map(|number| dev.rise(name, *number));
            mean(&rises.collect::<Vec<_>>())
        };
        let worst = rises
            .iter()
            .max_by(|a, b| lost(a.0).total_cmp(&lost(b.0)))
            .map(|(name, rise)| WorstDomain {
                domain: name.clone(),
                rise: *rise,
            });
        let forgetting = mean_figure(&over_groups).expect("a run has a retained domain");
        let gain = negated(of_domain(test, niche, numbers)?);
        Ok(Self {
            name: candidate.name(),
            share: candidate.share,
            seeds: runs.len(),
            against_reference: None,
            gain: over_seeds(gain, &by_seed(&|run| run.gain.value)),
            mean_forgetting: over_seeds(forgetting, &by_seed(&|run| run.mean_rise.value)),
            worst: worst.expect("a run has a retained domain"),
            rises,
            tokens: candidate.tokens,
            seconds: mean(&by_seed(&|run| run.candidate.seconds)),
            on_the_frontier: true,
            frontier_share: None,
            beaten_by: None,
            not_told_apart_from: None,
        })
    }

    /// Returns the point (gain, forgetting).
    pub(super) fn place(&self) -> (f64, f64) {
        (self.gain.value, self.mean_forgetting.value)
    }
}
