//! Evaluator of a run with limits: its evaluations on the dev split drive the controller and choose the best
//! checkpoint.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use polymath_data::{HeldoutSplit, TokenShard};
use polymath_eval::{EvalError, WindowOptions, score_shard};
use polymath_model::Transformer;
use polymath_train::{Evaluator, Score, TrainError};

use super::Controller;
use super::retained::{LimitUse, RetainedDomains};
use crate::FinetuneError;

/// Evaluates the run, updates the controller, and scores a checkpoint by its niche if it is inside the limits.
pub(crate) struct Limited<'a> {
    transformer: &'a Transformer,
    windows: WindowOptions,
    niche: (String, Arc<TokenShard>),
    retained: RetainedDomains,
    controller: Arc<Controller>,
    limit_use: LimitUse,
}

impl<'a> Limited<'a> {
    /// Creates the evaluator before its first evaluation.
    pub fn new(
        (transformer, windows): (&'a Transformer, WindowOptions),
        niche: (String, Arc<TokenShard>),
        retained: RetainedDomains,
        controller: Arc<Controller>,
    ) -> Self {
        Self {
            transformer,
            windows,
            niche,
            retained,
            controller,
            limit_use: LimitUse::default(),
        }
    }

    fn measure(
        &mut self,
        progress: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
    ) -> Result<BTreeMap<String, f64>, FinetuneError> {
        let (niche, shard) = &self.niche;
        let all = std::iter::once((niche.as_str(), &**shard)).chain(self.retained.shards());
        let domains = 1 + self.retained.shards().len() as u64;
        let mut scores = BTreeMap::new();
        for (number, (name, shard)) in (0u64..).zip(all) {
            // Domains are about equally long: each is scored up to the same number of tokens.
            let mut told = |done, all| progress(number * all + done, domains * all);
            let found = score_shard(self.transformer, shard, self.windows, &mut told)?;
            scores.insert(name.to_owned(), found);
        }
        self.limit_use = self.retained.limit_use(&scores)?;
        self.controller.update(&self.limit_use.shares)?;
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
            _ => Score::within(bits_per_byte[&self.niche.0]),
        }
    }

    fn score_name(&self) -> String {
        match self.limit_use.share() > 1.0 {
            true => "nearness to the limits".into(),
            false => self.niche.0.clone(),
        }
    }

    fn control(&self) -> BTreeMap<String, f64> {
        let mut control = BTreeMap::new();
        if let Some(worst) = &self.limit_use.worst {
            control.insert("worst_share_of_limit".to_owned(), worst.share);
            control.insert("strength".to_owned(), self.controller.factor());
        }
        if let Some(share) = self.controller.share() {
            control.insert("replay_share".to_owned(), share);
            let parts = self.controller.parts().into_iter();
            control.extend(parts.map(|(name, part)| (format!("replayed_{name}"), part)));
        }
        control
    }

    fn note(&self) -> Option<String> {
        let worst = self.limit_use.worst.as_ref()?;
        let mut state = format!("strength × {:.2}", self.controller.factor());
        if let Some(share) = self.controller.share() {
            state = format!("replaying {:.1} %, {state}", share * 100.0);
        }
        Some(format!(
            "limits: {} {:+.4} bits per byte, at most {:+.4} with 95 %, of {} allowed ({}); {state} from here",
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
