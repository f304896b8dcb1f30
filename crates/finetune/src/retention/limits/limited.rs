//! A run inside its limits: its evaluations on the dev split move the controller and decide the best checkpoint.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use polymath_data::{HeldoutSplit, TokenShard};
use polymath_eval::{EvalError, WindowOptions, score_shard};
use polymath_model::Transformer;
use polymath_train::{Evaluator, TrainError};

use super::held::{Held, Standing};
use super::{OUTSIDE, Pressure};
use crate::FinetuneError;

/// Measures the run inside limits, moves the pressure, and takes the best niche score among what is inside.
pub(crate) struct Limited<'a> {
    transformer: &'a Transformer,
    windows: WindowOptions,
    niche: (String, Arc<TokenShard>),
    held: Held,
    pressure: Arc<Pressure>,
    standing: Standing,
}

impl<'a> Limited<'a> {
    /// Nothing measured yet.
    pub fn new(
        (transformer, windows): (&'a Transformer, WindowOptions),
        niche: (String, Arc<TokenShard>),
        held: Held,
        pressure: Arc<Pressure>,
    ) -> Self {
        Self {
            transformer,
            windows,
            niche,
            held,
            pressure,
            standing: Standing::default(),
        }
    }

    fn measure(
        &mut self,
        progress: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
    ) -> Result<BTreeMap<String, f64>, FinetuneError> {
        let (niche, shard) = &self.niche;
        let all = std::iter::once((niche.as_str(), &**shard)).chain(self.held.shards());
        let domains = 1 + self.held.shards().len() as u64;
        let mut scores = BTreeMap::new();
        for (number, (name, shard)) in (0u64..).zip(all) {
            // Domains are about equally long: they are looked at up to the same number of tokens.
            let mut told = |done, all| progress(number * all + done, domains * all);
            let found = score_shard(self.transformer, shard, self.windows, &mut told)?;
            scores.insert(name.to_owned(), found);
        }
        self.standing = self.held.stand(&scores)?;
        self.pressure.take(&self.standing.shares)?;
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

    fn score(&self, bits_per_byte: &BTreeMap<String, f64>) -> f64 {
        match self.standing.share() {
            share if share > 1.0 => OUTSIDE + share,
            _ => bits_per_byte[&self.niche.0],
        }
    }

    fn decides(&self) -> String {
        match self.standing.share() > 1.0 {
            true => "nearness to the limits".into(),
            false => self.niche.0.clone(),
        }
    }

    fn control(&self) -> BTreeMap<String, f64> {
        let mut control = BTreeMap::new();
        if let Some(worst) = &self.standing.worst {
            control.insert("worst_share_of_limit".to_owned(), worst.share);
            control.insert("strength".to_owned(), self.pressure.factor());
        }
        if let Some(share) = self.pressure.share() {
            control.insert("replay_share".to_owned(), share);
            let parts = self.pressure.parts().into_iter();
            control.extend(parts.map(|(name, part)| (format!("replayed_{name}"), part)));
        }
        control
    }

    fn note(&self) -> Option<String> {
        let worst = self.standing.worst.as_ref()?;
        let mut held = format!("strength × {:.2}", self.pressure.factor());
        if let Some(share) = self.pressure.share() {
            held = format!("replaying {:.1} %, {held}", share * 100.0);
        }
        Some(format!(
            "limits: {} {:+.4} bits per byte, at most {:+.4} with 95 %, of {} allowed ({}); {held} from here",
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
