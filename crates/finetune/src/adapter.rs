//! Fine-tuning with a LoRA or DoRA adapter: its config, and the model with the adapter.

use std::path::Path;

use polymath_model::{
    Adapter, AdapterBase, LoadOptions, LoraConfig, ModelConfig, Transformer, load_adapter,
};

use crate::{FinetuneError, Finetuning, Method};

/// Returns the config of the adapter to train, or `None` if the fine-tuning method uses none.
///
/// # Errors
/// Fails if `[lora]` is given with another method, a value is out of range, or the targets match nothing.
pub fn choose_adapter(
    method: Method,
    table: Option<&LoraConfig>,
    model: &ModelConfig,
) -> Result<Option<LoraConfig>, FinetuneError> {
    if !method.adapts() {
        return match table {
            None => Ok(None),
            Some(_) => Err(FinetuneError::Config(format!(
                "`[lora]` is given but `method` is `{}`: set `method = \"lora\"` or `\"dora\"`, or remove the table",
                method.name()
            ))),
        };
    }
    let lora = LoraConfig {
        dora: method == Method::Dora,
        ..table.cloned().unwrap_or_default()
    };
    lora.validate(model)
        .map_err(|error| FinetuneError::Config(error.to_string()))?;
    Ok(Some(lora))
}

impl Finetuning {
    /// Returns the base with an adapter: a new one, or the one stored in the checkpoint `resumed`.
    pub(crate) fn adapted(
        &self,
        lora: &LoraConfig,
        resumed: Option<&Path>,
        options: &LoadOptions,
    ) -> Result<Transformer, FinetuneError> {
        let folder = &self.base.folder;
        let weights = polymath_model::load_weights(folder)?;
        let base = AdapterBase {
            folder: folder.clone(),
            published: polymath_train::published(&self.config.base, folder),
            sha256: Some(self.base.sha256.clone()),
        };
        let adapter = match resumed {
            Some(folder) => Adapter {
                // The adapter's file lists projections one by one; the config keeps the targets as the user wrote
                // them.
                config: lora.clone(),
                base,
                ..load_adapter(folder, Some(&self.base.folder))?
            },
            None => {
                Adapter::initialize(lora.clone(), &self.model, &weights, self.config.seed, base)?
            }
        };
        let model = self.model.clone();
        Ok(Transformer::with_adapter(model, weights, adapter, options)?)
    }
}
