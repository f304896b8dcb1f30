//! Several runs against each other: which forgot least and which gained most, where the documents tell them apart.

use serde::{Deserialize, Serialize};

use super::{ModelScores, Role, RunReport, Settings};
use crate::ReportError;
use polymath_eval::statistics::Figure;
use polymath_eval::statistics::{Compared, FEWEST_GROUPS, Family, LEVEL, Verdict};

/// Resamples of the comparisons of runs with each other.
const RESAMPLES: usize = 2000;

/// Every two runs against each other, on the same groups of documents.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ranking {
    /// Why the runs are not compared with each other; null where they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The run that forgot less than every other, where the documents tell it apart from each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub least_forgetting: Option<String>,
    /// The run that gained more on the niche than every other, in the same way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub most_gain: Option<String>,
    /// Every two of them.
    pub pairs: Vec<PairReport>,
}

/// One run against another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PairReport {
    /// The run that is compared with.
    pub before: String,
    /// The run that is compared.
    pub after: String,
    /// By how much more `after` forgot on average over the old domains, with an interval that holds for all pairs together.
    pub forgetting: Figure,
    /// Of that difference against 0, adjusted for all pairs and both figures.
    pub forgetting_p_value: f64,
    /// By how much more `after` gained on the niche.
    pub gain: Figure,
    /// Of that difference against 0.
    pub gain_p_value: f64,
}

impl Ranking {
    /// Of at least two runs; `None` of fewer.
    ///
    /// # Errors
    /// Runs that were scored on different documents.
    pub fn of(
        scores: &[ModelScores],
        runs: &[RunReport],
        settings: &Settings,
    ) -> Result<Option<Self>, ReportError> {
        if runs.len() < 2 {
            return Ok(None);
        }
        if let Some(reason) = incomparable(runs) {
            return Ok(Some(Self {
                reason: Some(reason),
                least_forgetting: None,
                most_gain: None,
                pairs: Vec::new(),
            }));
        }
        let pairs: Vec<(usize, usize)> = (1..runs.len())
            .flat_map(|after| (0..after).map(move |before| (before, after)))
            .collect();
        let compared = |role: Role| {
            let domains = move |domain: &&super::DomainReport| {
                domain.role == role && domain.verdict != Verdict::Withheld
            };
            let of_pair = move |(before, after): &(usize, usize)| -> Vec<Compared> {
                let names = runs[0].domains.iter().filter(domains);
                names
                    .map(|domain| Compared {
                        domain: &domain.name,
                        before: &scores[*before].domains[&domain.name],
                        after: &scores[*after].domains[&domain.name],
                    })
                    .collect()
            };
            pairs.iter().map(of_pair).collect::<Vec<_>>()
        };
        let comparisons = [compared(Role::Old), compared(Role::Niche)].concat();
        let family = Family::of_means(&comparisons, RESAMPLES, settings.seed)?;
        Ok(Some(Self::from(&family, &pairs, runs)))
    }

    fn from(family: &Family, pairs: &[(usize, usize)], runs: &[RunReport]) -> Self {
        let values: Vec<f64> = family
            .comparisons()
            .iter()
            .map(|found| found.value)
            .collect();
        let (p_values, intervals) = (family.adjusted_p_values(), family.intervals(LEVEL));
        let count = pairs.len();
        let report = |(at, (before, after)): (usize, &(usize, usize))| {
            let [low, high] = intervals[count + at];
            PairReport {
                before: runs[*before].name.clone(),
                after: runs[*after].name.clone(),
                forgetting: Figure {
                    value: values[at],
                    interval: Some(intervals[at]),
                },
                forgetting_p_value: p_values[at],
                gain: Figure {
                    value: 0.0 - values[count + at],
                    interval: Some([0.0 - high, 0.0 - low]),
                },
                gain_p_value: p_values[count + at],
            }
        };
        // Below every other, and told apart from each: of forgetting, and of the niche's change.
        let lowest = |offset: usize| {
            let lower = |run: usize| {
                pairs.iter().enumerate().all(|(at, (before, after))| {
                    let (value, p_value) = (values[offset + at], p_values[offset + at]);
                    let below = (*after == run && value < 0.0) || (*before == run && value > 0.0);
                    (*after != run && *before != run) || (below && p_value < LEVEL)
                })
            };
            let found = (0..runs.len()).find(|run| lower(*run));
            found.map(|run| runs[run].name.clone())
        };
        Self {
            reason: None,
            least_forgetting: lowest(0),
            most_gain: lowest(count),
            pairs: pairs.iter().enumerate().map(report).collect(),
        }
    }
}

/// Why runs can't be compared; none where they can.
fn incomparable(runs: &[RunReport]) -> Option<String> {
    let judged = |run: &RunReport| -> Vec<(String, Role)> {
        let domains = run
            .domains
            .iter()
            .filter(|domain| domain.verdict != Verdict::Withheld);
        domains
            .map(|domain| (domain.name.clone(), domain.role))
            .collect()
    };
    let niche = |run: &RunReport| run.niche().map(|niche| niche.name.clone());
    let first = &runs[0];
    if runs.iter().any(|run| niche(run) != niche(first)) {
        return Some(
            "they were tuned for different niches, so that their means are over different domains"
                .into(),
        );
    }
    if runs.iter().any(|run| judged(run) != judged(first)) {
        return Some(
            "different domains are withheld, so that their means are over different domains".into(),
        );
    }
    let judged = judged(first);
    let has = |role| judged.iter().any(|(_, of)| *of == role);
    if !(has(Role::Niche) && has(Role::Old)) {
        return Some("there is no niche, or no old domain, that is judged".into());
    }
    let few = |domain: &&super::DomainReport| {
        domain.verdict != Verdict::Withheld && (domain.groups as usize) < FEWEST_GROUPS
    };
    first.domains.iter().find(few).map(|domain| {
        format!(
            "`{}` has fewer than {FEWEST_GROUPS} independent groups of held-out documents",
            domain.name
        )
    })
}
