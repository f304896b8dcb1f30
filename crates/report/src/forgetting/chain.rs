//! Chains of fine-tunings: the scores of every domain after every stage, and common measures of continual learning.

use serde::{Deserialize, Serialize};

use super::{ModelScores, RunReport};
use crate::ReportError;
use polymath_eval::statistics::Figure;

/// Stage of a chain: the base, or a run that was tuned from the stage before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stage {
    /// Display name of the stage.
    pub name: String,
    /// Niche of the stage; `None` for the base.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub niche: Option<String>,
    /// Bits per byte of each domain of the chain; `None` if withheld.
    pub bits_per_byte: Vec<Option<f64>>,
    /// Change of each domain relative to the base, with its 95 % interval; `None` if withheld, and for the base
    /// itself.
    pub changes: Vec<Option<Figure>>,
}

/// Measure of continual learning over the whole chain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measure {
    /// Name of the measure in the literature.
    pub name: String,
    /// Value in bits per byte, or a share; `None` if it depends on a withheld value or if the chain has a single
    /// stage.
    pub value: Option<f64>,
    /// Definition of the measure, with its source.
    pub definition: String,
}

/// Chain of fine-tunings, each of which starts from the model before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Chain {
    /// Names of the domains: the niches in the order of their stages, then the others by name.
    pub domains: Vec<String>,
    /// Base, followed by every stage of the chain.
    pub stages: Vec<Stage>,
    /// Measures of continual learning over all stages.
    pub measures: Vec<Measure>,
}

impl Chain {
    /// Makes a chain if the first run was tuned from the base and each other run from the one before. Returns `None` if
    /// the runs form no chain, have no niches, or are fewer than two.
    ///
    /// # Errors
    /// Fails if two runs have the same niche.
    pub fn of(
        base: &ModelScores,
        scores: &[ModelScores],
        runs: &[RunReport],
    ) -> Result<Option<Self>, ReportError> {
        let follows = |at: usize| {
            let before = if at == 0 { base } else { &scores[at - 1] };
            let source = before.sha256.as_ref();
            source.is_some() && scores[at].tuned_from.as_ref() == source
        };
        if scores.len() < 2 || !(0..scores.len()).all(follows) {
            return Ok(None);
        }
        let mut domains: Vec<String> = Vec::new();
        for run in scores {
            let Some(niche) = run.niche.clone() else {
                return Ok(None);
            };
            if domains.contains(&niche) {
                return Err(ReportError::Report(format!(
                    "`{}` is tuned for `{}`, like an earlier run of the chain: forgetting of its own niche is undefined; \
                    compare each run with the base in a separate report",
                    run.path, niche
                )));
            }
            domains.push(niche);
        }
        let others = base.domains.keys().filter(|name| !domains.contains(name));
        let others: Vec<String> = others.cloned().collect();
        domains.extend(others);
        let mut stages = vec![of_base(&domains, &runs[0])];
        stages.extend(
            scores
                .iter()
                .zip(runs)
                .map(|(scores, run)| of_run(&domains, scores.niche.clone(), run)),
        );
        let measures = measures(&domains, &stages);
        Ok(Some(Self {
            domains,
            stages,
            measures,
        }))
    }
}

fn of_base(domains: &[String], run: &RunReport) -> Stage {
    let of = |name: &String| {
        let mut found = run.domains.iter().filter(|domain| domain.name == *name);
        found.next().and_then(|domain| domain.base_bits_per_byte)
    };
    Stage {
        name: "base".into(),
        niche: None,
        bits_per_byte: domains.iter().map(of).collect(),
        changes: vec![None; domains.len()],
    }
}

fn of_run(domains: &[String], niche: Option<String>, run: &RunReport) -> Stage {
    let find = |name: &String| run.domains.iter().find(|domain| domain.name == *name);
    let change = |name: &String| {
        let domain = find(name)?;
        Some(Figure {
            value: domain.change?,
            interval: domain.interval,
        })
    };
    Stage {
        name: run.name.clone(),
        niche,
        bits_per_byte: domains
            .iter()
            .map(|name| find(name)?.tuned_bits_per_byte)
            .collect(),
        changes: domains.iter().map(change).collect(),
    }
}

/// Returns the mean, or `None` if there are no values or one is withheld.
fn mean(values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let values: Vec<f64> = values.collect::<Option<_>>()?;
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// Computes the measures. Their definitions assume that higher scores are better. Since lower bits per byte are
/// better, each difference is reversed. Domain `at` is the niche of stage `at + 1`.
fn measures(domains: &[String], stages: &[Stage]) -> Vec<Measure> {
    let last = stages.len() - 1;
    let bits = |stage: usize, domain: usize| stages[stage].bits_per_byte[domain];
    let earlier = 0..last - 1;
    let backward = mean(
        earlier
            .clone()
            .map(|at| Some(bits(at + 1, at)? - bits(last, at)?)),
    );
    let forward = mean((1..last).map(|at| Some(bits(0, at)? - bits(at, at)?)));
    let lost = |domain: usize| {
        let before = (0..last).map(|stage| bits(stage, domain));
        let best = before.collect::<Option<Vec<_>>>()?;
        let best = best.into_iter().fold(f64::INFINITY, f64::min);
        Some(bits(last, domain)? - best)
    };
    let of_niches = mean(earlier.map(&lost));
    let of_others = mean((last..domains.len()).map(&lost));
    let drop = mean((last..domains.len()).map(|at| {
        let base = bits(0, at)?;
        mean((1..=last).map(|stage| Some((bits(stage, at)? - base) / base)))
    }));
    let measure = |name: &str, value, definition: &str| Measure {
        name: name.into(),
        value,
        definition: definition.into(),
    };
    vec![
        measure(
            "backward transfer",
            backward,
            "Mean over the earlier niches of bits per byte right after their own stage minus bits per byte at the end (Lopez-Paz & \
            Ranzato 2017, reversed for a score where lower is better): negative if later stages harmed them.",
        ),
        measure(
            "forward transfer",
            forward,
            "Mean over the niches from the second on of the base's bits per byte minus those just before their own stage \
            (Lopez-Paz & Ranzato 2017, with the base in place of an untrained model): positive if earlier stages helped.",
        ),
        measure(
            "forgetting, maximum minus last: niches",
            of_niches,
            "Mean over the earlier niches of bits per byte at the end minus their best at any stage before (Chaudhry 2018).",
        ),
        measure(
            "forgetting, maximum minus last: other domains",
            of_others,
            "Same as above, over the domains that no stage was tuned for.",
        ),
        measure(
            "FG: mean relative increase of the other domains",
            drop,
            "Mean over the domains that no stage was tuned for, and over the stages, of the increase against the base as a share \
            of the base's bits per byte (Luo 2023).",
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks every measure of a chain with two niches and one other domain against values computed by hand.
    #[test]
    fn measures_match_values_by_hand() {
        let stage = |niche: Option<&str>, bits: [f64; 3]| Stage {
            name: "stage".into(),
            niche: niche.map(str::to_owned),
            bits_per_byte: bits.map(Some).to_vec(),
            changes: vec![None; 3],
        };
        let domains = ["first", "second", "other"].map(str::to_owned);
        let stages = [
            stage(None, [3.0, 4.0, 2.0]),
            stage(Some("first"), [1.0, 3.5, 2.5]),
            stage(Some("second"), [1.4, 2.0, 2.2]),
        ];
        let found: Vec<f64> = measures(&domains, &stages)
            .into_iter()
            .map(|measure| measure.value.unwrap())
            .collect();
        // 1.0 − 1.4; 4.0 − 3.5; 1.4 − 1.0; 2.2 − 2.0; (0.5 + 0.2) / 2 / 2.0.
        let expected = [-0.4, 0.5, 0.4, 0.2, 0.175];
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-12, "{found} {expected}");
        }
        // A withheld value makes those measures undefined that depend on it, and no others.
        let mut withheld = stages.clone();
        withheld[2].bits_per_byte[2] = None;
        let found = measures(&domains, &withheld);
        let open: Vec<bool> = found
            .iter()
            .map(|measure| measure.value.is_none())
            .collect();
        assert_eq!(open, [false, false, false, true, true]);
    }
}
