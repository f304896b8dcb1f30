//! Training objective: the niche's loss combined with the retention methods.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use candle_core::{Tensor, Var};
use polymath_data::{Batch, IGNORED};
use polymath_train::{LanguageModel, Losses, Objective, Penalty, SaveModel, TrainError};

use super::Distillation;
use crate::Lineage;

/// Training objective of a fine-tuning: the language-model loss of a batch plus the terms of the retention methods.
pub struct RetentionObjective<'a> {
    /// Model to train.
    pub model: LanguageModel<'a>,
    /// Penalties on the parameters' distance from the base (L2-SP, EWC).
    pub penalties: Vec<Box<dyn Penalty>>,
    /// Weight of a replayed token's loss, relative to a token of the niche.
    pub replay_weight: f64,
    /// Distillation on the replayed rows.
    pub distillation: Option<Distillation>,
    /// Lineage of the run, saved with every checkpoint.
    pub lineage: Option<Lineage>,
}

impl Objective for RetentionObjective<'_> {
    fn begin_step(&self, seed: u64, step: u64) {
        self.model.begin_step(seed, step);
    }

    fn begin_part(&self, first_row: usize) {
        self.model.begin_part(first_row);
    }

    fn loss(&self, batch: &Batch) -> Result<Tensor, TrainError> {
        self.model.loss(batch)
    }

    fn losses(&self, batch: &Batch, strength: f64) -> Result<Losses, TrainError> {
        let hidden = self.model.transformer.hidden_states(batch)?;
        let losses = self.distilled(batch, &hidden, strength)?;
        match self.replay_weight == 1.0 {
            true => Ok(losses),
            false => losses.with("replay", self.weighted(batch, &hidden)?),
        }
    }

    fn penalties(&self) -> &[Box<dyn Penalty>] {
        &self.penalties
    }

    fn trainable(&self) -> &BTreeMap<String, Var> {
        self.model.trainable()
    }
}

impl RetentionObjective<'_> {
    /// Returns the loss of a batch, with the distillation term added if the run distills.
    fn distilled(
        &self,
        batch: &Batch,
        hidden: &Tensor,
        strength: f64,
    ) -> Result<Losses, TrainError> {
        let transformer = self.model.transformer;
        let targets: Arc<[u32]> = batch.targets.as_slice().into();
        let task = || transformer.loss_of(hidden, &targets);
        let Some(distillation) = &self.distillation else {
            return Ok(Losses::of_task(task()?));
        };
        let Some(comparison) = distillation.comparison(batch)? else {
            return Losses::of_task(task()?).with("distill", zero(hidden)?);
        };
        let strength = distillation.strength * strength;
        let distilled =
            transformer.distillation_loss_of(hidden, &targets, &comparison, strength)?;
        Ok(Losses {
            total: distilled.total,
            task: distilled.task,
            auxiliary: vec![("distill", distilled.divergence)],
        })
    }

    /// Returns the extra loss of replayed rows whose tokens count `weight` times: (weight − 1) times their loss, since
    /// the batch's loss already contains it once.
    fn weighted(&self, batch: &Batch, hidden: &Tensor) -> Result<Tensor, TrainError> {
        let mut targets = batch.targets.clone();
        let rows = targets.chunks_exact_mut(batch.sequence_length());
        for (row, targets) in rows.enumerate() {
            if !batch.is_replayed(row) {
                targets.fill(IGNORED);
            }
        }
        if targets.iter().all(|target| *target == IGNORED) {
            return zero(hidden);
        }
        let again = self.model.transformer.loss_of(hidden, &targets.into())?;
        Ok((again * (self.replay_weight - 1.0))?)
    }
}

/// Returns a scalar zero, which is logged as the term's value for a batch without replayed rows.
fn zero(hidden: &Tensor) -> Result<Tensor, TrainError> {
    Ok(Tensor::zeros((), hidden.dtype(), hidden.device())?)
}

impl SaveModel for RetentionObjective<'_> {
    fn save(&self, folder: &Path) -> Result<(), TrainError> {
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
