//! The niche's loss with what is retained beside it.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{Tensor, Var};
use polymath_data::Batch;
use polymath_train::{LanguageModel, Objective, Penalty, SaveModel, TrainError};

/// A language model that is held back.
pub(crate) struct Retaining<'a> {
    /// What learns.
    pub model: LanguageModel<'a>,
    /// What holds its parameters.
    pub penalties: Vec<Box<dyn Penalty>>,
}

impl Objective for Retaining<'_> {
    fn loss(&self, batch: &Batch) -> Result<Tensor, TrainError> {
        self.model.loss(batch)
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
        self.model.save(folder)
    }
}
