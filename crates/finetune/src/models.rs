//! Loading of a run's models: its base, the trained model, and its checkpoints.

use std::path::Path;

use polymath_model::{LoadOptions, ModelSource, Ops, Precision, Transformer};
use polymath_train::Launch;

use polymath_model::{EMBEDDING, HEAD};

use crate::{FinetuneError, Finetuning};

impl Finetuning {
    /// Loads the run's best checkpoint if `tuned` is true, else its base: frozen and in f32.
    ///
    /// # Errors
    /// Fails if the model can't be loaded.
    pub fn load_tuned(&self, launch: &Launch, tuned: bool) -> Result<Transformer, FinetuneError> {
        if !tuned {
            let options = LoadOptions::frozen(&launch.device, launch.ops(Precision::F32));
            return self.load_base(&options);
        }
        self.load_checkpoint(launch, &self.best()?)
    }

    /// Loads one of the run's checkpoints: frozen and in f32.
    ///
    /// # Errors
    /// Fails if the model can't be loaded.
    pub fn load_checkpoint(
        &self,
        launch: &Launch,
        folder: &Path,
    ) -> Result<Transformer, FinetuneError> {
        let options = LoadOptions::frozen(&launch.device, launch.ops(Precision::F32));
        Ok(ModelSource::over(folder, &self.base.folder).load(&options)?)
    }

    /// Loads the model to train: from the base, or from the newest checkpoint of a resumed run.
    pub(crate) fn transformer(
        &self,
        resumed: Option<&Path>,
        launch: &Launch,
        ops: Ops,
    ) -> Result<Transformer, FinetuneError> {
        let moves = |name: &str| self.trainable.contains(name);
        let options = LoadOptions {
            device: launch.device.clone(),
            ops,
            trainable: &moves,
        };
        let transformer = match &self.adapter {
            Some(lora) => self.adapted(lora, resumed, &options)?,
            None => self.load(resumed.unwrap_or(self.start()), &options)?,
        };
        let ends: Vec<u32> = self.model.all_ends().collect();
        Ok(transformer
            .with_ends(&ends)
            .with_z_loss(self.config.training.z_loss))
    }

    /// Loads the base. Fails if its weights have changed since the run was opened.
    pub(crate) fn load_base(&self, options: &LoadOptions) -> Result<Transformer, FinetuneError> {
        self.base.check()?;
        self.load(&self.base.folder, options)
    }

    /// Loads the model in `folder`. If the run unties the head and the model has a tied one, the head starts as a
    /// copy of the embedding.
    pub(crate) fn load(
        &self,
        folder: &Path,
        options: &LoadOptions,
    ) -> Result<Transformer, FinetuneError> {
        let mut config = polymath_model::load_config(folder)?;
        if config.tie_word_embeddings == self.model.tie_word_embeddings {
            return Ok(polymath_model::load(folder, options)?);
        }
        config.tie_word_embeddings = self.model.tie_word_embeddings;
        let mut weights = polymath_model::load_weights(folder)?;
        let head = weights[EMBEDDING].clone();
        weights.insert(HEAD.to_owned(), head);
        Ok(Transformer::from_weights(config, weights, options)?)
    }
}
