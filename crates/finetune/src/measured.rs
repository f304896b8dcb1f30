//! The evaluations of a run while it trains: on the dev split, since they decide its best checkpoint.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use polymath_data::HeldoutSplit;
use polymath_eval::{EvalError, HeldoutEvaluator, WindowOptions};
use polymath_model::{Ops, Transformer};
use polymath_train::{Evaluator, Launch, RunFolder, TrainError};

use crate::retention::Pressure;
use crate::{FinetuneError, Finetuning};

impl Finetuning {
    /// Measures the run on the way: inside its limits, where it has some.
    pub(crate) fn evaluator<'a>(
        &'a self,
        transformer: &'a Transformer,
        pressure: Option<Arc<Pressure>>,
        (run, launch, ops): (&RunFolder, &Launch, Ops),
    ) -> Result<Box<dyn Evaluator + 'a>, FinetuneError> {
        let windows = WindowOptions {
            context: Some(self.sequence_length),
            stride: None,
            max_tokens: Some(self.config.evaluation.max_tokens()),
            split: Some(HeldoutSplit::Dev),
        };
        match pressure {
            Some(pressure) => self.limited(transformer, pressure, (run, launch, ops)),
            None => Ok(Box::new(Heldout {
                evaluator: HeldoutEvaluator::new(self.data.watched.clone(), windows),
                transformer,
                niche: &self.niche,
            })),
        }
    }
}

/// Scores every watched domain on the dev split; the niche decides the best checkpoint.
struct Heldout<'a> {
    evaluator: HeldoutEvaluator,
    transformer: &'a Transformer,
    niche: &'a str,
}

impl Evaluator for Heldout<'_> {
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

    fn score(&self, bits_per_byte: &BTreeMap<String, f64>) -> f64 {
        bits_per_byte[self.niche]
    }

    fn decides(&self) -> String {
        self.niche.to_owned()
    }
}
