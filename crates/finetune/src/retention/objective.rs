//! The niche's loss with what is retained beside it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use candle_core::{Tensor, Var};
use polymath_data::Batch;
use polymath_train::{
    LanguageModel, Losses, Objective, Penalty, SaveModel, TrainError, to_token_batch,
};

use super::{Distillation, Pressure};

/// A language model that is held back.
pub struct Retaining<'a> {
    /// What learns.
    pub model: LanguageModel<'a>,
    /// What holds its parameters.
    pub penalties: Vec<Box<dyn Penalty>>,
    /// What holds its predictions.
    pub distillation: Option<Distillation>,
    /// How hard it is held, where there are limits.
    pub pressure: Option<Arc<Pressure>>,
}

impl Objective for Retaining<'_> {
    fn begin_step(&self, seed: u64, step: u64) {
        self.model.begin_step(seed, step);
        if let Some(pressure) = &self.pressure {
            pressure.at(step + 1);
        }
    }

    fn loss(&self, batch: &Batch) -> Result<Tensor, TrainError> {
        self.model.loss(batch)
    }

    fn losses(&self, batch: &Batch) -> Result<Losses, TrainError> {
        let Some(distillation) = &self.distillation else {
            return Ok(Losses::of_task(self.loss(batch)?));
        };
        let Some(comparison) = distillation.comparison(batch)? else {
            // Nothing of this batch is replayed; the value is logged all the same.
            let losses = Losses::of_task(self.loss(batch)?);
            let nothing = losses.task.zeros_like()?.detach();
            return Ok(Losses {
                beside: vec![("distill", nothing)],
                ..losses
            });
        };
        let factor = self
            .pressure
            .as_ref()
            .map_or(1.0, |pressure| pressure.factor());
        let strength = distillation.strength * factor;
        let transformer = self.model.transformer;
        let held = transformer.held_loss(&to_token_batch(batch), &comparison, strength)?;
        Ok(Losses {
            total: held.total,
            task: held.task,
            beside: vec![("distill", held.held)],
        })
    }

    fn penalties(&self) -> &[Box<dyn Penalty>] {
        &self.penalties
    }

    fn trainable(&self) -> &BTreeMap<String, Var> {
        self.model.trainable()
    }
}

impl SaveModel for Retaining<'_> {
    fn save(&self, folder: &Path) -> Result<(), TrainError> {
        if let Some(pressure) = &self.pressure {
            pressure.save(folder)?;
        }
        self.model.save(folder)
    }
}
