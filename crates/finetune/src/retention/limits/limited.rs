//! Evaluator of a run with limits. It measures the use of the limits on the dev split, by which the best checkpoint
//! is chosen.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use polymath_data::{HeldoutSplit, NamedShard};
use polymath_eval::{EvalError, WindowOptions, score_shard};
use polymath_model::Transformer;
use polymath_train::{Evaluator, Score, TrainError};

use super::retained::{LimitUse, RetainedDomains};
use crate::FinetuneError;

/// Evaluator of a run with limits. The score is the niche's if the model is within the limits.
pub(crate) struct Limited<'a> {
    transformer: &'a Transformer,
    windows: WindowOptions,
    niche: NamedShard,
    retained: RetainedDomains,
    limit_use: LimitUse,
}

impl<'a> Limited<'a> {
    /// Makes the evaluator, before its first evaluation.
    pub fn new(
        transformer: &'a Transformer,
        windows: WindowOptions,
        niche: NamedShard,
        retained: RetainedDomains,
    ) -> Self {
        Self {
            transformer,
            windows,
            niche,
            retained,
            limit_use: LimitUse::default(),
        }
    }

    fn measure(
        &mut self,
        progress: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
    ) -> Result<BTreeMap<String, f64>, FinetuneError> {
        let NamedShard { name: niche, shard } = &self.niche;
        let all = std::iter::once((niche.as_str(), &**shard)).chain(self.retained.shards());
        let domains = 1 + self.retained.shards().len() as u64;
        let mut scores = BTreeMap::new();
        for (number, (name, shard)) in (0u64..).zip(all) {
            // Domains count as equally long for the progress, since each is scored up to the same number of tokens.
            let mut told = |done, all| progress(number * all + done, domains * all);
            let found = score_shard(self.transformer, shard, self.windows, &mut told)?;
            scores.insert(name.to_owned(), found);
        }
        self.limit_use = self.retained.limit_use(&scores)?;
        let bits = scores.into_iter();
        Ok(bits
            .map(|(name, scores)| (name, scores.bits_per_byte()))
            .collect())
    }
}

impl Evaluator for Limited<'_> {
    fn evaluate(
        &mut self,
        progress: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
    ) -> Result<BTreeMap<String, f64>, TrainError> {
        self.measure(progress).map_err(|error| match error {
            FinetuneError::Evaluation(EvalError::Stopped) => TrainError::Stopped,
            other => TrainError::Hook(Box::new(other)),
        })
    }

    fn chosen_on(&self) -> Option<HeldoutSplit> {
        self.windows.split
    }

    fn warning(&self) -> Option<String> {
        self.retained.warning()
    }

    fn score(&self, bits_per_byte: &BTreeMap<String, f64>) -> Score {
        match self.limit_use.share() {
            share_of_limit if share_of_limit > 1.0 => Score::Outside { share_of_limit },
            _ => Score::within(bits_per_byte[&self.niche.name]),
        }
    }

    fn score_name(&self) -> String {
        match self.limit_use.share() > 1.0 {
            true => "nearness to the limits".into(),
            false => self.niche.name.clone(),
        }
    }

    fn limit_shares(&self) -> BTreeMap<String, f64> {
        self.limit_use.shares.clone()
    }

    fn control(&self) -> BTreeMap<String, f64> {
        let worst = self.limit_use.worst.iter();
        worst
            .map(|worst| ("worst_share_of_limit".to_owned(), worst.share))
            .collect()
    }

    fn note(&self) -> Option<String> {
        let worst = self.limit_use.worst.as_ref()?;
        Some(format!(
            "limits: {} {:+.4} bits per byte, at most {:+.4} with 95 %, of {} allowed ({})",
            worst.domain,
            worst.change,
            worst.bound,
            worst.limit,
            if worst.share > 1.0 {
                "outside"
            } else {
                "inside"
            },
        ))
    }
}
