//! The niche's loss with what is retained beside it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use candle_core::{Tensor, Var};
use polymath_data::{Batch, IGNORED};
use polymath_train::{
    LanguageModel, Losses, Objective, Penalty, SaveModel, TrainError, to_token_batch,
};

use super::{Distillation, Pressure};
use crate::Lineage;

/// A language model that is held back.
pub struct Retaining<'a> {
    /// What learns.
    pub model: LanguageModel<'a>,
    /// What holds its parameters.
    pub penalties: Vec<Box<dyn Penalty>>,
    /// How much a replayed token's loss counts beside a token's of the niche.
    pub replay_weight: f64,
    /// What holds its predictions.
    pub distillation: Option<Distillation>,
    /// How hard it is held, where there are limits.
    pub pressure: Option<Arc<Pressure>>,
    /// What the run started from, saved with every checkpoint.
    pub lineage: Option<Lineage>,
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
        let tokens = to_token_batch(batch);
        let hidden = self.model.transformer.hidden_states(&tokens)?;
        let losses = self.held(batch, &hidden, &tokens.targets.into())?;
        match self.replay_weight == 1.0 {
            true => Ok(losses),
            false => losses.with("replay", self.weighed(batch, &hidden)?),
        }
    }

    fn penalties(&self) -> &[Box<dyn Penalty>] {
        &self.penalties
    }

    fn trainable(&self) -> &BTreeMap<String, Var> {
        self.model.trainable()
    }
}

impl Retaining<'_> {
    /// The loss, and what the predictions are held by.
    fn held(
        &self,
        batch: &Batch,
        hidden: &Tensor,
        targets: &Arc<[u32]>,
    ) -> Result<Losses, TrainError> {
        let transformer = self.model.transformer;
        let task = || transformer.loss_of(hidden, targets);
        let Some(distillation) = &self.distillation else {
            return Ok(Losses::of_task(task()?));
        };
        let Some(comparison) = distillation.comparison(batch)? else {
            return Losses::of_task(task()?).with("distill", nothing(hidden)?);
        };
        let factor = self
            .pressure
            .as_ref()
            .map_or(1.0, |pressure| pressure.factor());
        let strength = distillation.strength * factor;
        let held = transformer.distillation_loss_of(hidden, targets, (&comparison, strength))?;
        Ok(Losses {
            total: held.total,
            task: held.task,
            beside: vec![("distill", held.divergence)],
        })
    }

    /// What the replayed rows count beside the once that is in the loss.
    fn weighed(&self, batch: &Batch, hidden: &Tensor) -> Result<Tensor, TrainError> {
        let mut targets = batch.targets.clone();
        let rows = targets.chunks_exact_mut(batch.sequence_length);
        for (row, targets) in rows.enumerate() {
            if !batch.is_replayed(row) {
                targets.fill(IGNORED);
            }
        }
        if targets.iter().all(|target| *target == IGNORED) {
            return nothing(hidden);
        }
        let again = self.model.transformer.loss_of(hidden, &targets.into())?;
        Ok((again * (self.replay_weight - 1.0))?)
    }
}

/// What is logged for a batch of which nothing is replayed.
fn nothing(hidden: &Tensor) -> Result<Tensor, TrainError> {
    Ok(Tensor::zeros((), hidden.dtype(), hidden.device())?)
}

impl SaveModel for Retaining<'_> {
    fn save(&self, folder: &Path) -> Result<(), TrainError> {
        if let Some(pressure) = &self.pressure {
            pressure.save(folder)?;
        }
        if let Some(lineage) = &self.lineage {
            lineage
                .write(folder)
                .map_err(|error| TrainError::Hook(Box::new(error)))?;
        }
        self.model.save(folder)
    }
}

#[cfg(test)]
mod tests;
