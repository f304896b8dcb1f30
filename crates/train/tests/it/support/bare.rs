//! Transformer whose checkpoints contain only its weights.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{Tensor, Var};
use polymath_data::Batch;
use polymath_model::Transformer;
use polymath_train::{Objective, SaveModel, TrainError};

/// Objective of next-token prediction without a tokenizer.
pub struct Bare(pub Transformer);

impl Objective for Bare {
    fn begin_step(&self, seed: u64, step: u64) {
        self.0.begin_step(seed, step);
    }

    fn loss(&self, batch: &Batch) -> Result<Tensor, TrainError> {
        Ok(self.0.loss(batch)?)
    }

    fn trainable(&self) -> &BTreeMap<String, Var> {
        self.0.trainable()
    }
}

impl SaveModel for Bare {
    fn save(&self, folder: &Path) -> Result<(), TrainError> {
        std::fs::write(folder.join("config.json"), "{}").unwrap();
        let tensors = self.0.parameters();
        safetensors::serialize_to_file(tensors, None, &folder.join("model.safetensors")).unwrap();
        Ok(())
    }
}
