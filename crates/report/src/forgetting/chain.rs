//! Several fine-tunings one after the other: every domain after every stage, and what each stage did to the others.

use serde::{Deserialize, Serialize};

use super::{ModelScores, RunReport};
use crate::ReportError;
use polymath_eval::statistics::Figure;

/// One model of the chain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stage {
    /// What a person calls it.
    pub name: String,
    /// The domain that this stage was tuned for; none for the base.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub niche: Option<String>,
    /// Bits per byte of each of the chain's domains; null where withheld.
    pub bits_per_byte: Vec<Option<f64>>,
    /// Change against the base of each, with its 95 % interval; null where withheld, and for the base.
    pub changes: Vec<Option<Figure>>,
}

/// One number over the whole chain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measure {
    /// The field's name for it.
    pub name: String,
    /// In bits per byte, or a share; null where what it rests on is withheld, or with one stage alone.
    pub value: Option<f64>,
    /// What it is, and whose definition.
    pub definition: String,
}

/// All of a chain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Chain {
    /// The domains, in the order in which they became niches, then the others by name.
    pub domains: Vec<String>,
    /// The base, then every stage.
    pub stages: Vec<Stage>,
    /// Over all of them.
    pub measures: Vec<Measure>,
}

impl Chain {
    /// Of runs of which the first was tuned from the base and each other from the one before; `None` where they are no
    /// chain of at least two.
    ///
    /// # Errors
    /// A niche that comes twice.
    pub fn of(
        base: &ModelScores,
        scores: &[ModelScores],
        runs: &[RunReport],
    ) -> Result<Option<Self>, ReportError> {
        let follows = |at: usize| {
            let before = if at == 0 { base } else { &scores[at - 1] };
            !before.sha256.is_empty() && scores[at].tuned_from == before.sha256
        };
        if scores.len() < 2 || !(0..scores.len()).all(follows) {
            return Ok(None);
        }
        let mut domains: Vec<String> = Vec::new();
        for run in scores {
            if domains.contains(&run.niche) {
                return Err(ReportError::Report(format!(
                    "`{}` is tuned for `{}`, as a run before it in the chain is: what a stage forgot of its own niche can't \
                     be told; compare each with the base in a report of its own",
                    run.path, run.niche
                )));
            }
            domains.push(run.niche.clone());
        }
        let others = base.domains.keys().filter(|name| !domains.contains(name));
        let others: Vec<String> = others.cloned().collect();
        domains.extend(others);
        let mut stages = vec![of_base(&domains, &runs[0])];
        stages.extend(
            scores
                .iter()
                .zip(runs)
                .map(|(scores, run)| of_run(&domains, &scores.niche, run)),
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

fn of_run(domains: &[String], niche: &str, run: &RunReport) -> Stage {
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
        niche: Some(niche.to_owned()),
        bits_per_byte: domains
            .iter()
            .map(|name| find(name)?.tuned_bits_per_byte)
            .collect(),
        changes: domains.iter().map(change).collect(),
    }
}

/// The mean; none of nothing, nor where a value is withheld.
fn mean(values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let values: Vec<f64> = values.collect::<Option<_>>()?;
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// The definitions speak of scores that are better the higher they are; bits per byte are better the lower, so each
/// difference is turned round. Domain `at` is the niche of stage `at + 1`.
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
    let of_old = mean((last..domains.len()).map(&lost));
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
            "Mean over the earlier niches of bits per byte right after their own stage minus those at the end (Lopez-Paz & \
             Ranzato 2017, the sign turned for a score that is better when lower): negative where later stages harmed them.",
        ),
        measure(
            "forward transfer",
            forward,
            "Mean over the niches from the second on of the base's bits per byte minus those just before their own stage \
             (Lopez-Paz & Ranzato 2017, with the base in place of an untrained model): positive where earlier stages helped.",
        ),
        measure(
            "forgetting, maximum minus last: niches",
            of_niches,
            "Mean over the earlier niches of bits per byte at the end minus their best at any stage before (Chaudhry 2018).",
        ),
        measure(
            "forgetting, maximum minus last: other domains",
            of_old,
            "The same over the domains that no stage was tuned for.",
        ),
        measure(
            "FG: mean relative rise of the other domains",
            drop,
            "Mean over the domains that no stage was tuned for, and over the stages, of the rise against the base as a share \
             of the base's bits per byte (Luo 2023).",
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every measure of a chain worked out by hand: two niches, one other domain.
    #[test]
    fn measures_by_hand() {
        let stage = |niche: Option<&str>, bits: [f64; 3]| Stage {
            name: "stage".into(),
            niche: niche.map(str::to_owned),
            bits_per_byte: bits.map(Some).to_vec(),
            changes: vec![None; 3],
        };
        let domains = ["first", "second", "old"].map(str::to_owned);
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
        // A withheld figure leaves what rests on it open, and nothing else.
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
