//! Recommendation: the method with the largest gain among those whose upper bounds are within the limit in every
//! retained domain.

use std::collections::BTreeMap;

use serde::Serialize;

use super::runs::RunFigures;
use super::scored::SplitOfAll;
use crate::ReportError;
use polymath_eval::statistics::{
    Contrast, Draw, FEWEST_GROUPS, Figure, FigureOfAll, LEVEL, LimitVerdict, Maxima, Random,
    WeightedDomain, mean,
};

const RESAMPLES: usize = 2000;
const SEED: u64 = 26;

/// Method that is within the limit on the dev split and has the largest gain there.
#[derive(Debug, Clone, Serialize)]
pub struct Recommendation {
    /// Name of the method.
    pub name: String,
    /// Retained domain that is closest to the limit.
    pub domain: String,
    /// Upper bound of that domain's change on the dev split. It holds at 95 % for all methods together.
    pub upper_bound: f64,
    /// Result of a run with a new seed, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confirmation: Option<Confirmation>,
}

/// Outcome of a confirmation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The method gained significantly, and every retained domain kept the limit.
    Confirmed,
    /// The method lost significantly on the niche, or a retained domain broke the limit.
    Refuted,
    /// The method is neither confirmed nor refuted.
    Undecided,
}

/// Result, on the test split, of a run of the recommended method with a seed that was not in the comparison.
#[derive(Debug, Clone, Serialize)]
pub struct Confirmation {
    /// Seed of the run.
    pub seed: u64,
    /// Outcome of the confirmation.
    pub outcome: Outcome,
    /// Gain on the niche.
    pub gain: Figure,
    /// Mean forgetting of the retained domains.
    pub mean_forgetting: Figure,
    /// Change of each retained domain.
    pub rises: BTreeMap<String, Figure>,
    /// Retained domains that are not shown to be within the limit, each with its effective number of groups.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub open: BTreeMap<String, f64>,
}

/// Verdict on a retained domain of a run with a new seed.
pub(super) struct Judged {
    pub verdict: LimitVerdict,
    pub effective_groups: f64,
}

impl Confirmation {
    /// Makes a confirmation from a run with a new seed and the verdicts on its retained domains.
    pub(super) fn new(run: &RunFigures, judged: &BTreeMap<String, Judged>) -> Self {
        let is = |wanted| move |judged: &Judged| judged.verdict == wanted;
        let [low, high] = run
            .gain
            .interval
            .unwrap_or([f64::NEG_INFINITY, f64::INFINITY]);
        let outcome = if high < 0.0 || judged.values().any(is(LimitVerdict::Broken)) {
            Outcome::Refuted
        } else if low > 0.0 && judged.values().all(is(LimitVerdict::Kept)) {
            Outcome::Confirmed
        } else {
            Outcome::Undecided
        };
        Self {
            seed: run.candidate.seed,
            outcome,
            gain: run.gain,
            mean_forgetting: run.mean_rise,
            rises: run.rises.clone(),
            open: judged
                .iter()
                .filter(|(_, judged)| judged.verdict == LimitVerdict::Undecided)
                .map(|(name, judged)| (name.clone(), judged.effective_groups))
                .collect(),
        }
    }
}

/// Recommends one of the methods, given the indices of their runs on the dev split, which must all have the same
/// seeds. Returns `None` if no method is within the limit, or if a domain has too few groups for a bound.
///
/// # Errors
/// Fails if scores are not finite.
pub fn recommend(
    dev: &SplitOfAll,
    (names, methods): (&[String], &[Vec<usize>]),
    (niche, limit): (&str, f64),
) -> Result<Option<Recommendation>, ReportError> {
    let domains: Vec<&String> = dev.names().filter(|name| *name != niche).collect();
    let mut sums = Vec::new();
    for name in &domains {
        sums.push(dev.sums(name, methods)?);
    }
    if methods.is_empty() || sums.iter().any(|sums| sums.groups() < FEWEST_GROUPS) {
        return Ok(None);
    }
    let rises: Vec<FigureOfAll> = domains
        .iter()
        .zip(&sums)
        .map(|(name, sums)| {
            let of_method = |runs: &Vec<usize>| -> Vec<f64> {
                runs.iter().map(|run| dev.rise(name, *run)).collect()
            };
            let values = methods.iter().map(of_method).collect();
            let domain = WeightedDomain { sums, weight: 1.0 };
            FigureOfAll::new(vec![domain], values, false)
        })
        .collect();
    let errors = critical(&rises, methods.len(), limit);
    let bound = |method: usize, rise: &FigureOfAll| {
        rise.value(Contrast::of(method)) + errors * rise.error(Contrast::of(method))
    };
    let gain = |method: usize| {
        let falls = methods[method].iter().map(|run| -dev.rise(niche, *run));
        mean(&falls.collect::<Vec<_>>())
    };
    let inside = (0..methods.len()).filter_map(|method| {
        let bounds = rises.iter().map(|rise| bound(method, rise)).enumerate();
        let (domain, worst) = bounds.max_by(|a, b| a.1.total_cmp(&b.1))?;
        (worst <= limit && gain(method) > 0.0).then_some((method, domain, worst))
    });
    let chosen = inside.max_by(|a, b| gain(a.0).total_cmp(&gain(b.0)));
    Ok(chosen.map(|(method, domain, upper_bound)| Recommendation {
        name: names[method].clone(),
        domain: domains[domain].clone(),
        upper_bound,
        confirmation: None,
    }))
}

/// Returns the number of standard errors between a domain's change and its upper bound, such that with 95 %
/// probability no method with a domain beyond the limit seems to be within it. For each method, the domain closest to
/// the limit counts: since all domains must be within it, one test for each method is enough (intersection-union
/// test).
fn critical(rises: &[FigureOfAll], methods: usize, limit: f64) -> f64 {
    let room = |method: usize, rise: &FigureOfAll| {
        let alone = Contrast::of(method);
        (limit - rise.value(alone)) / rise.error(alone).max(f64::MIN_POSITIVE)
    };
    let closest: Vec<usize> = (0..methods)
        .map(|method| {
            let rooms = rises.iter().map(|rise| room(method, rise)).enumerate();
            let least = rooms.min_by(|a, b| a.1.total_cmp(&b.1));
            least.map_or(0, |(domain, _)| domain)
        })
        .collect();
    let mut random = Random(SEED);
    let mut maxima = Vec::new();
    for _ in 0..RESAMPLES {
        let draws: Vec<Draw> = rises.iter().map(|rise| rise.draw(&mut random)).collect();
        let too_low = closest.iter().enumerate().map(|(method, domain)| {
            -rises[*domain].statistic(&draws[*domain], Contrast::of(method))
        });
        maxima.push(too_low.fold(0.0, f64::max));
    }
    Maxima::new(maxima).critical(LEVEL)
}
