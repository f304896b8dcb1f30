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
/// Minimum number of seeds for a recommendation: one says nothing of how much runs differ.
pub const FEWEST_SEEDS: usize = 2;

/// Method that is within the limit on the dev split and has the largest gain there.
#[derive(Debug, Clone, Serialize)]
pub struct Recommendation {
    /// Name of the method.
    pub name: String,
    /// Retained domain that is closest to the limit.
    pub domain: String,
    /// Upper bound of that domain's change on the dev split. It holds at 95 % for all methods together.
    pub upper_bound: f64,
    /// Methods that gain more on the dev split and are within the limit too, but that another one within it
    /// significantly dominates on the test split.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub passed_over: Vec<String>,
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
    /// Gain on the niche in bits per byte.
    pub gain: Figure,
    /// Mean forgetting over the retained domains in bits per byte.
    pub mean_forgetting: Figure,
    /// Change of each retained domain in bits per byte, by domain.
    pub rises: BTreeMap<String, Figure>,
    /// Retained domains that are not shown to be within the limit, each with its effective number of groups.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub open: BTreeMap<String, f64>,
}

/// Result of the forgetting limit for one retained domain of the confirmation run.
pub(super) struct ConfirmedDomain {
    pub verdict: LimitVerdict,
    pub effective_groups: f64,
}

impl Confirmation {
    /// Creates a confirmation from a run with a new seed and the verdicts on its retained domains.
    pub(super) fn new(run: &RunFigures, judged: &BTreeMap<String, ConfirmedDomain>) -> Self {
        let is = |wanted| move |judged: &ConfirmedDomain| judged.verdict == wanted;
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

/// Method that is within the forgetting limit on the dev split in every retained domain.
pub(super) struct WithinLimit {
    /// Index of the method.
    pub method: usize,
    /// Retained domain that is closest to the limit, and the upper bound of its change.
    closest: (String, f64),
    gain: f64,
}

/// Returns the methods that gain and are within the limit in every retained domain, by descending gain, all on the dev
/// split and given the indices of their runs. Empty with a single seed, which says nothing of other runs, and if a
/// domain has too few groups for a bound.
///
/// # Errors
/// Fails for scores that are not finite.
pub fn inside(
    dev: &SplitOfAll,
    methods: &[Vec<usize>],
    niche: &str,
    limit: f64,
) -> Result<Vec<WithinLimit>, ReportError> {
    let domains: Vec<&String> = dev.names().filter(|name| *name != niche).collect();
    let mut sums = Vec::new();
    for name in &domains {
        sums.push(dev.sums(name, methods)?);
    }
    let seeds = methods.first().map_or(0, Vec::len);
    if seeds < FEWEST_SEEDS || sums.iter().any(|sums| sums.groups() < FEWEST_GROUPS) {
        return Ok(Vec::new());
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
    let found = (0..methods.len()).filter_map(|method| {
        let bounds = rises.iter().map(|rise| bound(method, rise)).enumerate();
        let (domain, worst) = bounds.max_by(|a, b| a.1.total_cmp(&b.1))?;
        (worst <= limit && gain(method) > 0.0).then(|| WithinLimit {
            method,
            closest: (domains[domain].clone(), worst),
            gain: gain(method),
        })
    });
    let mut found: Vec<WithinLimit> = found.collect();
    found.sort_by(|a, b| b.gain.total_cmp(&a.gain));
    Ok(found)
}

/// Recommends the method with the most gain among those inside the limit, unless another one inside significantly
/// dominates it: `beats` says whether the first method dominates the second on the test split. A method that is passed
/// over for that is named, since the test split then took part in the choice.
pub fn recommend(
    names: &[String],
    inside: &[WithinLimit],
    beats: &dyn Fn(usize, usize) -> bool,
) -> Option<Recommendation> {
    let is_beaten = |one: &WithinLimit| {
        let mut others = inside.iter().filter(|other| other.method != one.method);
        others.any(|other| beats(other.method, one.method))
    };
    let at = inside.iter().position(|one| !is_beaten(one))?;
    let WithinLimit {
        method, closest, ..
    } = &inside[at];
    Some(Recommendation {
        name: names[*method].clone(),
        domain: closest.0.clone(),
        upper_bound: closest.1,
        passed_over: inside[..at]
            .iter()
            .map(|one| names[one.method].clone())
            .collect(),
        confirmation: None,
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    fn at(method: usize, gain: f64) -> WithinLimit {
        WithinLimit {
            method,
            closest: ("law".into(), 0.01),
            gain,
        }
    }

    /// Checks that a method that another one inside the limit dominates is passed over, and named; one that a method
    /// outside dominates is not.
    #[test]
    fn a_dominated_method_is_not_recommended() {
        let names = ["a", "b", "c"].map(str::to_owned);
        let inside = [at(0, 0.5), at(1, 0.4)];
        let found = recommend(&names, &inside, &|other, one| (other, one) == (1, 0)).unwrap();
        assert_eq!(
            (found.name.as_str(), &found.passed_over[..]),
            ("b", &["a".to_owned()][..])
        );
        let found = recommend(&names, &inside, &|other, one| (other, one) == (2, 0)).unwrap();
        assert_eq!((found.name.as_str(), found.passed_over.len()), ("a", 0));
        assert!(recommend(&names, &[], &|_, _| false).is_none());
    }
}
