//! Comparison of several runs with each other: significantly less forgetting, or significantly more gain.

use serde::{Deserialize, Serialize};

use super::{ModelScores, ReportSettings, Role, RunReport};
use crate::ReportError;
use polymath_eval::statistics::Figure;
use polymath_eval::statistics::{Compared, FEWEST_GROUPS, Family, LEVEL, Verdict};

/// Number of resamples for the comparison of runs with each other.
const RESAMPLES: usize = 2000;

/// Pairwise comparison of runs on the same groups of documents.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ranking {
    /// Reason why the runs are not compared; `None` if they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Run that forgets significantly less than each other run, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub least_forgetting: Option<String>,
    /// Run that gains significantly more on the niche than each other run, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub most_gain: Option<String>,
    /// Comparison of each pair of runs.
    pub pairs: Vec<PairReport>,
}

/// Comparison of one run with another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PairReport {
    /// Run of the pair that serves as the reference.
    pub before: String,
    /// Run of the pair that is compared with the reference.
    pub after: String,
    /// Mean forgetting of `after` minus that of `before` over the retained domains. The interval holds for all pairs
    /// together.
    pub forgetting: Figure,
    /// p-value of the difference in forgetting against 0, adjusted for all pairs and for both gain and forgetting.
    pub forgetting_p_value: f64,
    /// Gain of `after` on the niche minus that of `before`. The interval holds for all pairs together.
    pub gain: Figure,
    /// p-value of the difference in gain against 0, adjusted for all pairs and for both gain and forgetting.
    pub gain_p_value: f64,
}

impl Ranking {
    /// Compares at least two runs. Returns `None` for fewer.
    ///
    /// # Errors
    /// Fails if the runs were scored on different documents.
    pub fn of(
        scores: &[ModelScores],
        runs: &[RunReport],
        settings: &ReportSettings,
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
        let comparisons = [compared(Role::Retained), compared(Role::Niche)].concat();
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
        // Significantly lower than every other run: in forgetting, or in the change of the niche.
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

/// Returns the reason why the runs can't be compared, or `None` if they can.
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
            "they were tuned for different niches, so their means are over different domains"
                .into(),
        );
    }
    if runs.iter().any(|run| judged(run) != judged(first)) {
        return Some(
            "different domains are withheld, so their means are over different domains".into(),
        );
    }
    let judged = judged(first);
    let has = |role| judged.iter().any(|(_, of)| *of == role);
    if !(has(Role::Niche) && has(Role::Retained)) {
        return Some("there is no judged niche, or no judged retained domain".into());
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
