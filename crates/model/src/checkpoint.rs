//! Model folders in Hugging Face's layout: `config.json`, `model.safetensors`, the tokenizer and its settings.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::Tensor;

use crate::adapter::save_adapter;
use crate::hugging_face::TokenIds;
use crate::model_folder::{CONFIG, GENERATION_CONFIG, write};
use crate::source::generation_ends;
use crate::weights::{WEIGHTS, write_weights};
use crate::{LoadOptions, ModelConfig, ModelError, ModelSource, TokenizerFiles, Transformer};

/// Writes the model into the existing folder `folder`. For a model with an adapter, only the adapter is written. The
/// caller must sync the folder and rename it into place.
///
/// # Errors
/// Fails if a file can't be written or copied.
pub fn save(
    folder: &Path,
    model: &Transformer,
    tokenizer: &TokenizerFiles,
) -> Result<(), ModelError> {
    if let Some(adapter) = model.adapter() {
        tokenizer.write(folder, model.config())?;
        if !model.config().other_eos_token_ids.is_empty() {
            save_ends(folder, model.config())?;
        }
        return save_adapter(folder, &adapter);
    }
    save_weights(folder, model.config(), model.parameters(), tokenizer)
}

/// Writes weights, named as in [`ModelConfig::parameter_shapes`], as a model folder.
///
/// # Errors
/// Fails as [`save`] does.
pub fn save_weights<N: AsRef<str> + Ord + std::fmt::Display>(
    folder: &Path,
    config: &ModelConfig,
    weights: BTreeMap<N, Tensor>,
    tokenizer: &TokenizerFiles,
) -> Result<(), ModelError> {
    write(&folder.join(CONFIG), config.to_json().as_bytes())?;
    tokenizer.write(folder, config)?;
    save_ends(folder, config)?;
    write_weights(&folder.join(WEIGHTS), config, weights)
}

/// Makes the folder's `generation_config.json` name every end token of the model. If it already does, the file stays
/// unchanged.
fn save_ends(folder: &Path, config: &ModelConfig) -> Result<(), ModelError> {
    let path = folder.join(GENERATION_CONFIG);
    let mut settings = match read_settings(&path)? {
        None => serde_json::json!({"bos_token_id": config.bos_token_id}),
        Some(settings) => settings,
    };
    let known = generation_ends(folder)?;
    let mut all = config.clone();
    all.add_ends(&known);
    if polymath_input::is_file(&path)? && all.all_ends().all(|end| known.contains(&end)) {
        return Ok(());
    }
    settings["eos_token_id"] = serde_json::to_value(TokenIds::ends(&all))
        .map_err(|error| ModelError::content(&path, error.to_string()))?;
    write(&path, format!("{settings:#}\n").as_bytes())
}

/// Reads a JSON object as Python writes it; `None` if the file does not exist.
fn read_settings(path: &Path) -> Result<Option<serde_json::Value>, ModelError> {
    let found = polymath_tokenizer::read_optional_json(path)?;
    if found.as_ref().is_some_and(|settings| !settings.is_object()) {
        return Err(ModelError::content(path, "is not a JSON object"));
    }
    Ok(found)
}

/// Reads only the `config.json` of a model folder, or of an adapter's base.
///
/// # Errors
/// Fails if the folder or the file is missing, or if a field is not supported.
pub fn load_config(folder: &Path) -> Result<ModelConfig, ModelError> {
    ModelSource::of(folder).config()
}

/// Loads a model folder.
///
/// # Errors
/// Fails if a file is missing, is truncated or does not have the shapes that `config.json` gives.
pub fn load(folder: &Path, options: &LoadOptions) -> Result<Transformer, ModelError> {
    ModelSource::of(folder).load(options)
}

/// Reads the weights of a model folder as f32 on the CPU, named as in [`ModelConfig::parameter_shapes`]; merges an
/// adapter into its base.
///
/// # Errors
/// Fails as [`load`] does.
pub fn load_weights(folder: &Path) -> Result<BTreeMap<String, Tensor>, ModelError> {
    ModelSource::of(folder).weights()
}

/// Returns the names of the parameters in a model folder.
///
/// # Errors
/// Fails as [`load_config`] does.
pub fn parameter_names(folder: &Path) -> Result<Vec<String>, ModelError> {
    let shapes = load_config(folder)?.parameter_shapes();
    Ok(shapes.into_iter().map(|(name, _)| name).collect())
}
