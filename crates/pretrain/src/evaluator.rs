//! Scores of the held-out documents during pretraining.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use polymath_data::HeldoutSplit;
use polymath_eval::{EvalError, HeldoutEvaluator};
use polymath_model::Transformer;
use polymath_train::{Evaluator, Score, TrainError};

/// Evaluator that scores every domain on the dev split. The best checkpoint is the one with the lowest mean over the
/// domains of the mixture.
pub(crate) struct MixtureEvaluator<'a> {
    pub evaluator: HeldoutEvaluator,
    pub transformer: &'a Transformer,
    /// Names of the domains of the mixture.
    pub trained: Vec<String>,
}

impl Evaluator for MixtureEvaluator<'_> {
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
        let values = self
            .trained
            .iter()
            .filter_map(|name| bits_per_byte.get(name));
        Score::within(values.sum::<f64>() / self.trained.len().max(1) as f64)
    }

    fn score_name(&self) -> String {
        match &self.trained[..] {
            [only] => only.clone(),
            _ => "mean".into(),
        }
    }
}
