//! A method over its seeds.

use std::collections::BTreeMap;

use serde::Serialize;

use super::estimates::{of_domain, over_seeds, turned};
use super::joint::mean;
use super::runs::RunFigures;
use super::scored::SplitOfAll;
use crate::ReportError;
use polymath_eval::statistics::Figure;
use polymath_eval::statistics::mean_figure;

/// The retained domain that loses most on the dev split, and its rise on the test split: the largest of several noisy rises
/// on the same documents would be too large. The seeds are the same on both.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WorstDomain {
    /// Its name.
    pub domain: String,
    /// Its rise on the test split.
    #[serde(flatten)]
    pub rise: Figure,
}

/// How a method's figures differ from those of the reference. All such intervals of a frontier hold together with 95 %.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Difference {
    /// Gain − the reference's gain.
    pub gain: Figure,
    /// Mean forgetting − the reference's.
    pub mean_forgetting: Figure,
}

/// A method over its seeds, or such a method mixed with the base.
#[derive(Debug, Clone, Serialize)]
pub struct Method {
    /// Its name, with the share where it is mixed.
    pub name: String,
    /// Share of the tuned weights where it is mixed with the base, after training.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share: Option<f64>,
    /// Runs that it rests on.
    pub seeds: usize,
    /// Against the reference; none of the reference itself, nor where nothing is compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub against_reference: Option<Difference>,
    /// Fall on the niche.
    pub gain: Figure,
    /// Mean rise over the retained domains.
    pub mean_forgetting: Figure,
    /// The retained domain that loses most.
    pub worst: WorstDomain,
    /// Rise of each retained domain.
    pub rises: BTreeMap<String, Figure>,
    /// Tokens of a run.
    pub tokens: u64,
    /// Mean seconds of training.
    pub seconds: f64,
    /// Whether no other is told from it as gaining more and forgetting less.
    pub on_the_frontier: bool,
    /// The share of resamples in which no other has a better point; none where nothing is compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frontier_share: Option<f64>,
    /// The one of most gain that surely gains more and forgets less.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beaten_by: Option<String>,
    /// Where it is not surely beaten: the one of most gain whose figures are better, which may be chance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_told_apart_from: Option<String>,
}

impl Method {
    /// Over the runs with these numbers, of all runs.
    pub(super) fn of(
        (test, development): (&SplitOfAll, &SplitOfAll),
        (all, numbers): (&[RunFigures], &[usize]),
        niche: &str,
    ) -> Result<Self, ReportError> {
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
            let rises = numbers.iter().map(|number| development.rise(name, *number));
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
        let gain = turned(of_domain(test, niche, numbers)?);
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

    /// Its point (gain, forgetting).
    pub(super) fn place(&self) -> (f64, f64) {
        (self.gain.value, self.mean_forgetting.value)
    }
}
