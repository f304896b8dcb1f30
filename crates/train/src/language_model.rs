//! Standard objective: next-token prediction.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{Tensor, Var};
use polymath_data::Batch;
use polymath_model::{TokenizerFiles, Transformer};

use crate::{Objective, SaveModel, TrainError};

/// Transformer that is trained on next-token prediction and saved with its tokenizer.
pub struct LanguageModel<'a> {
    /// Transformer to train.
    pub transformer: &'a Transformer,
    /// Tokenizer saved beside the weights.
    pub tokenizer: TokenizerFiles,
}

impl Objective for LanguageModel<'_> {
    fn begin_step(&self, seed: u64, step: u64) {
        self.transformer.begin_step(seed, step);
    }

    fn begin_part(&self, first_row: usize) {
        self.transformer.begin_part(first_row);
    }

    fn loss(&self, batch: &Batch) -> Result<Tensor, TrainError> {
        Ok(self.transformer.loss(batch)?)
    }

    fn trainable(&self) -> &BTreeMap<String, Var> {
        self.transformer.trainable()
    }
}

impl SaveModel for LanguageModel<'_> {
    fn save(&self, folder: &Path) -> Result<(), TrainError> {
        // `fit` has already checked that the weights are finite, which saving would check again.
        Ok(polymath_model::save(
            folder,
            self.transformer,
            &self.tokenizer,
        )?)
    }
}
