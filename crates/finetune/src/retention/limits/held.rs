//! The old domains on the way: their development halves against the base.

use std::collections::BTreeMap;
use std::sync::Arc;

use polymath_data::TokenShard;
use polymath_eval::frontier::HalfScores;
use polymath_eval::statistics::{Change, paired_change};
use polymath_eval::{DomainScores, WindowOptions, score_shard};
use polymath_model::Transformer;
use polymath_train::{Evaluator, TrainError};

use super::{LimitsConfig, OUTSIDE, Pressure, limit_of};
use crate::FinetuneError;

/// Resamples of an interval on the way.
const RESAMPLES: usize = 1000;
/// Fewer documents say too little of how much documents differ.
const FEWEST_DOCUMENTS: usize = 5;

/// An old domain, and what the base makes of its development half.
pub(crate) struct Held {
    name: String,
    shard: Arc<TokenShard>,
    limit: Option<f64>,
    base: DomainScores,
}

impl Held {
    /// Scores the base on what it reads of the domains that are `watched`. A limit can only be kept where enough documents show
    /// how much they differ.
    pub fn score(
        (base, read): (&Transformer, &[(String, Arc<TokenShard>)]),
        watched: &[(String, Arc<TokenShard>)],
        limits: &LimitsConfig,
        windows: WindowOptions,
    ) -> Result<Vec<Self>, FinetuneError> {
        watched
            .iter()
            .zip(read)
            .map(|((name, shard), (_, read))| {
                let scores = score_shard(base, read, windows, &mut |_, _| ())?;
                let limit = limit_of(limits, name);
                if limit.is_some() && scores.documents.len() < FEWEST_DOCUMENTS {
                    return Err(FinetuneError::Config(format!(
                        "`retention.limits`: only {} of `{name}`'s held-out documents are looked at during the run, \
                         expected at least {FEWEST_DOCUMENTS}: raise `evaluation.max_tokens`, or hold out more",
                        scores.documents.len()
                    )));
                }
                Ok(Self {
                    name: name.clone(),
                    shard: Arc::clone(shard),
                    limit,
                    base: scores,
                })
            })
            .collect()
    }
}

impl Held {
    /// Whether scores of the same documents are inside its limit, the upper end of their interval too.
    pub fn is_inside(&self, scores: &HalfScores) -> Result<bool, FinetuneError> {
        let Some(limit) = self.limit else {
            return Ok(true);
        };
        let change = paired_change(&self.base, &scores[&self.name], RESAMPLES, 0)?;
        Ok(change.high <= limit)
    }
}

/// What the worst domain was, at an evaluation.
#[derive(Debug, Clone)]
struct Worst {
    domain: String,
    change: Change,
    limit: f64,
    /// The upper end of its rise, as a share of its limit.
    share: f64,
}

/// Measures the run inside limits, moves the pressure, and takes the best niche score among what is inside.
pub(crate) struct Limited<'a> {
    transformer: &'a Transformer,
    windows: WindowOptions,
    niche: (String, Arc<TokenShard>),
    old: Vec<Held>,
    pressure: Arc<Pressure>,
    worst: Option<Worst>,
}

impl<'a> Limited<'a> {
    /// Nothing measured yet.
    pub fn new(
        (transformer, windows): (&'a Transformer, WindowOptions),
        niche: (String, Arc<TokenShard>),
        old: Vec<Held>,
        pressure: Arc<Pressure>,
    ) -> Self {
        Self {
            transformer,
            windows,
            niche,
            old,
            pressure,
            worst: None,
        }
    }

    fn measure(
        &mut self,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<BTreeMap<String, f64>, FinetuneError> {
        let domains = 1 + self.old.len() as u64;
        let score = |shard: &TokenShard, number: u64, progress: &mut dyn FnMut(u64, u64)| {
            // Domains are about equally long: they are looked at up to the same number of tokens.
            score_shard(self.transformer, shard, self.windows, &mut |done, all| {
                progress(number * all + done, domains * all);
            })
        };
        let mut found = BTreeMap::new();
        let (name, shard) = &self.niche;
        found.insert(name.clone(), score(shard, 0, progress)?.bits_per_byte());
        let mut worst: Option<Worst> = None;
        for (number, held) in self.old.iter().enumerate() {
            let scores = score(&held.shard, 1 + number as u64, progress)?;
            found.insert(held.name.clone(), scores.bits_per_byte());
            let Some(limit) = held.limit else {
                continue;
            };
            let change = paired_change(&held.base, &scores, RESAMPLES, 0)?;
            let share = change.high.max(0.0) / limit;
            if worst.as_ref().is_none_or(|worst| share > worst.share) {
                worst = Some(Worst {
                    domain: held.name.clone(),
                    change,
                    limit,
                    share,
                });
            }
        }
        self.pressure
            .take(worst.as_ref().map_or(0.0, |worst| worst.share))?;
        self.worst = worst;
        Ok(found)
    }
}

impl Evaluator for Limited<'_> {
    fn evaluate(
        &mut self,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<BTreeMap<String, f64>, TrainError> {
        self.measure(progress)
            .map_err(|error| TrainError::Hook(Box::new(error)))
    }

    fn score(&self, bits_per_byte: &BTreeMap<String, f64>) -> f64 {
        match &self.worst {
            Some(worst) if worst.share > 1.0 => OUTSIDE + worst.share,
            _ => bits_per_byte[&self.niche.0],
        }
    }

    fn control(&self) -> BTreeMap<String, f64> {
        let mut control = BTreeMap::new();
        if let Some(worst) = &self.worst {
            control.insert("worst_share_of_limit".to_owned(), worst.share);
            control.insert("strength".to_owned(), self.pressure.factor());
        }
        control.extend(
            self.pressure
                .share()
                .map(|share| ("replay_share".to_owned(), share)),
        );
        control
    }

    fn note(&self) -> Option<String> {
        let worst = self.worst.as_ref()?;
        let held = match self.pressure.share() {
            Some(share) => format!("replaying {:.1} % from here", share * 100.0),
            None => format!("strength × {:.2} from here", self.pressure.factor()),
        };
        Some(format!(
            "limits: {} {:+.4} bits per byte, at most {:+.4} with its interval, of {} allowed ({}); {held}",
            worst.domain,
            worst.change.value,
            worst.change.high,
            worst.limit,
            if worst.share > 1.0 {
                "outside"
            } else {
                "inside"
            },
        ))
    }
}
