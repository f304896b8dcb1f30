//! Provenance of a run: its settings, step and cost, and the program and machine that trained it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::RunReport;
use crate::wording::{count, duration};

/// Keys of a configuration that differ between any two runs and therefore tell nothing.
const OWN: [&str; 1] = ["run"];
/// Key of the length of training rows in tokens, which is also the context of evaluations during training.
const ROW: &str = "training.sequence_length";

/// Settings and circumstances of a run. What the run folder does not say is `None`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Provenance {
    /// Values of the run's configuration by their full key, as in `training.learning_rate`, defaults included.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub settings: BTreeMap<String, String>,
    /// Number of training steps before the scored checkpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<u64>,
    /// Number of training steps of the whole run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<u64>,
    /// Number of tokens that the run trained on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    /// Duration of the training in seconds, without evaluations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// Seed of the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Date and time at which the run began, in UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begun: Option<String>,
    /// Version of Polymath that trained the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Machine that trained the run: processor, threads and system, or the GPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
}

impl Provenance {
    /// Returns whether nothing is known.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Returns the known circumstances of the run as pairs of a term and a text, such as `Steps` and `500`.
    pub fn facts(&self) -> Vec<(&'static str, String)> {
        let steps = match (self.step, self.steps) {
            (Some(step), Some(steps)) if step != steps => {
                Some(format!("{} (scored: step {})", count(steps), count(step)))
            }
            (step, steps) => steps.or(step).map(count),
        };
        let facts = [
            ("Steps", steps),
            ("Tokens", self.tokens.map(count)),
            ("Time", self.seconds.map(duration)),
            ("Seed", self.seed.map(|seed| seed.to_string())),
            ("Begun", self.begun.clone()),
            ("Version", self.version.clone()),
            ("Machine", self.machine.clone()),
        ];
        let known = facts.into_iter();
        known
            .filter_map(|(term, text)| Some((term, text?)))
            .collect()
    }

    /// Returns the context of the evaluations during training, in tokens.
    pub fn evaluation_context(&self) -> Option<usize> {
        self.settings.get(ROW)?.parse().ok()
    }

    /// Returns whether the run was given forgetting limits.
    pub fn has_limits(&self) -> bool {
        let mut keys = self.settings.keys();
        keys.any(|key| key.starts_with("retention.limits"))
    }
}

/// Returns the keys of the settings that are not the same in all runs: the method first, then the forgetting limits,
/// and last the keys that say how often a run is scored and saved.
pub fn differing(runs: &[RunReport]) -> Vec<&str> {
    let settings = runs.iter().map(|run| &run.provenance.settings);
    let known: Vec<_> = settings.filter(|settings| !settings.is_empty()).collect();
    differing_keys(&known)
}

fn differing_keys<'a>(known: &[&'a BTreeMap<String, String>]) -> Vec<&'a str> {
    let keys: BTreeSet<&String> = known.iter().flat_map(|settings| settings.keys()).collect();
    let differs = |key: &&String| {
        let values = known.iter().map(|settings| settings.get(*key));
        values.collect::<BTreeSet<_>>().len() > 1 && !OWN.contains(&key.as_str())
    };
    let differing = keys.into_iter().filter(differs);
    let mut keys: Vec<&str> = differing.map(String::as_str).collect();
    keys.sort_by_key(|key| match *key {
        "method" => 0,
        key if key.starts_with("retention.limits") => 1,
        key if key.starts_with("checkpoint.") || key.starts_with("evaluation.") => 3,
        _ => 2,
    });
    keys
}

/// Returns a note on a run whose evaluations during training had another context than the report.
pub fn other_context(run: &RunReport, context: usize) -> Option<String> {
    let own = run.provenance.evaluation_context()?;
    (context > 0 && own != context).then(|| {
        format!(
            "Evaluations during the training of this run had a context of {} tokens, the report has {}: its curves and its limits \
            are not in the same bits per byte as the figures here.",
            count(own as u64),
            count(context as u64)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that only settings that differ are listed, those that choose the method before those that score and save.
    #[test]
    fn differing_settings_begin_with_the_method() {
        let run = |settings: &[(&str, &str)]| -> BTreeMap<String, String> {
            let settings = settings.iter();
            let owned = settings.map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
            owned.collect()
        };
        let runs = [
            run(&[
                ("checkpoint.every", "25"),
                ("evaluation.every", "25"),
                ("method", "full"),
                ("run", "full"),
                ("seed", "1"),
            ]),
            run(&[
                ("checkpoint.every", "12"),
                ("evaluation.every", "12"),
                ("method", "lora"),
                ("retention.distill.strength", "16"),
                ("retention.limits.default", "0.02"),
                ("run", "limits"),
                ("seed", "1"),
            ]),
        ];
        assert_eq!(
            differing_keys(&runs.each_ref()),
            [
                "method",
                "retention.limits.default",
                "retention.distill.strength",
                "checkpoint.every",
                "evaluation.every"
            ]
        );
    }
}
