//! Evaluators that score a fine-tuning while it trains. They use the dev split, since they choose the best checkpoint.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use polymath_data::HeldoutSplit;
use polymath_eval::{EvalError, HeldoutEvaluator, WindowOptions};
use polymath_model::{Ops, Transformer};
use polymath_train::{Evaluator, Launch, Score, TrainError};

use crate::{FinetuneError, Finetuning};

impl Finetuning {
    /// Returns the evaluator that scores the run during training.
    pub(crate) fn evaluator<'a>(
        &'a self,
        transformer: &'a Transformer,
        launch: &Launch,
        ops: Ops,
    ) -> Result<Box<dyn Evaluator + 'a>, FinetuneError> {
        let windows = WindowOptions {
            context: Some(self.sequence_length),
            stride: None,
            max_tokens: Some(self.config.evaluation.max_tokens),
            split: Some(HeldoutSplit::Dev),
        };
        match &self.config.retention.limits {
            Some(limits) => self.limited(transformer, limits, launch, ops),
            None => Ok(Box::new(NicheEvaluator {
                evaluator: HeldoutEvaluator::new(self.data.watched.clone(), windows),
                transformer,
                niche: &self.niche,
            })),
        }
    }
}

/// Evaluator of a run without limits: scores every domain on the dev split. The niche's score chooses the best
/// checkpoint.
pub(crate) struct NicheEvaluator<'a> {
    pub evaluator: HeldoutEvaluator,
    pub transformer: &'a Transformer,
    pub niche: &'a str,
}

impl Evaluator for NicheEvaluator<'_> {
    fn evaluate(
        &mut self,
        progress: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
    ) -> Result<BTreeMap<String, f64>, TrainError> {
        self.evaluator
            .evaluate(self.transformer, progress)
            .map_err(|error| match error {
                EvalError::Stopped => TrainError::Stopped,
                other => TrainError::Hook(Box::new(other)),
            })
    }

    fn chosen_on(&self) -> Option<HeldoutSplit> {
        self.evaluator.split()
    }

    fn warning(&self) -> Option<String> {
        self.evaluator.warning()
    }

    fn score(&self, bits_per_byte: &BTreeMap<String, f64>) -> Score {
        Score::within(bits_per_byte[self.niche])
    }

    fn score_name(&self) -> String {
        self.niche.to_owned()
    }
}
