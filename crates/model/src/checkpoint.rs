//! Model folders in Hugging Face's layout: `config.json`, `model.safetensors`, the tokenizer and its settings.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::Tensor;

use crate::adapter::{base_folder, is_adapter, load_adapter, save_adapter};
use crate::hugging_face::{self, TokenIds, read_json};
use crate::model_folder::{GENERATION_CONFIG, TOKENIZER, write};
use crate::weights::{
    WEIGHTS, counted, has_own_head, listed, read_weights, unused_tensors, write_weights,
};
use crate::{LoadOptions, ModelConfig, ModelError, TokenizerFiles, Transformer};

const CONFIG: &str = "config.json";

/// Returns the tokenizer file of a model folder.
///
/// # Errors
/// Fails if the folder has none.
pub fn tokenizer_in(folder: &Path) -> Result<PathBuf, ModelError> {
    let path = folder.join(TOKENIZER);
    if path.is_file() {
        Ok(path)
    } else {
        Err(ModelError::content(
            folder,
            "has no `tokenizer.json`: a model folder needs one, save it with the model",
        ))
    }
}

/// Returns the tokenizer file of a folder; an adapter without one uses that of its base, or of `base` if given.
///
/// # Errors
/// Fails as [`tokenizer_in`] does, or if an adapter's base is missing.
pub fn tokenizer_over(folder: &Path, base: Option<&Path>) -> Result<PathBuf, ModelError> {
    if is_adapter(folder) && !polymath_input::is_file(&folder.join(TOKENIZER))? {
        return tokenizer_in(&base_folder(folder, base)?);
    }
    tokenizer_in(folder)
}

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
    load_config_over(folder, None)
}

/// Fails if a path is not a folder; the error gives the reason: it does not exist, is a circular link, or is
/// something else.
fn refuse_no_folder(folder: &Path) -> Result<(), ModelError> {
    let expected = "expected a checkpoint such as `checkpoints/<run>/best`";
    let reason = match std::fs::metadata(folder) {
        Ok(found) if found.is_dir() => return Ok(()),
        Ok(_) => format!("is not a folder: {expected}"),
        Err(error) => match std::fs::read_link(folder) {
            Ok(target) => format!(
                "is a link to `{}`, which can't be followed: {error}; {expected}",
                target.display()
            ),
            Err(_) if error.kind() == std::io::ErrorKind::NotFound => {
                format!("is not there: {expected}")
            }
            Err(_) => format!("can't be opened: {error}; {expected}"),
        },
    };
    Err(ModelError::content(folder, reason))
}

/// Reads the config like [`load_config`]. For an adapter's folder, `base` replaces the base that it names. Whether
/// the adapter was trained on this base is checked only when the model is loaded.
///
/// # Errors
/// Fails as [`load_config`] does, or if an adapter's base is missing.
pub fn load_config_over(folder: &Path, base: Option<&Path>) -> Result<ModelConfig, ModelError> {
    refuse_no_folder(folder)?;
    if is_adapter(folder) {
        let mut config = load_config(&base_folder(folder, base)?)?;
        config.add_ends(&generation_ends(folder)?);
        return Ok(config);
    }
    let path = folder.join(CONFIG);
    if !path.is_file() {
        let hint = if folder.join("latest").exists() || folder.join("best").exists() {
            format!(
                "is a run folder: name a checkpoint in it, such as `{}`",
                folder.join("best").display()
            )
        } else {
            "has no `config.json`: expected a checkpoint such as `checkpoints/<run>/best`".into()
        };
        return Err(ModelError::content(folder, hint));
    }
    let text = polymath_input::read_text(&path)?;
    let mut config = ModelConfig::from_json(&path, &text)?;
    if config.tie_word_embeddings && has_own_head(folder, &config)? {
        config.tie_word_embeddings = false;
    }
    config.add_ends(&generation_ends(folder)?);
    Ok(config)
}

/// Returns the end tokens in the folder's `generation_config.json`, if there is one.
fn generation_ends(folder: &Path) -> Result<Vec<u32>, ModelError> {
    let path = folder.join(GENERATION_CONFIG);
    if !polymath_input::is_file(&path)? {
        return Ok(Vec::new());
    }
    let text = polymath_input::read_text(&path)?;
    hugging_face::generation_ends(&path, &text)
}

/// Describes the unused content of a model folder, or of an adapter's base, in one sentence each.
///
/// # Errors
/// Fails as [`load_config_over`] does.
pub fn unused_content(folder: &Path, base: Option<&Path>) -> Result<Vec<String>, ModelError> {
    if is_adapter(folder) {
        return unused_content(&base_folder(folder, base)?, None);
    }
    let config = load_config(folder)?;
    let mut said = Vec::new();
    let path = folder.join(CONFIG);
    let text = polymath_input::read_text(&path)?;
    let (stated, unknown) = read_json(&path, &text)?;
    if !unknown.is_empty() {
        said.push(format!(
            "`{}` has {} that models of its family do not use, ignored: {}",
            path.display(),
            counted(unknown.len(), "key"),
            unknown.join(", ")
        ));
    }
    if stated.tie_word_embeddings && !config.tie_word_embeddings {
        said.push(format!(
            "`{}` ties the output projection to the embedding, but the weights have an `lm_head.weight` with other values, \
             which is used",
            path.display()
        ));
    }
    let unused_tensors = unused_tensors(folder, &config)?;
    if !unused_tensors.is_empty() {
        said.push(format!(
            "`{}` has {} besides those of the language model, ignored: {}",
            folder.display(),
            counted(unused_tensors.len(), "tensor"),
            listed(&unused_tensors)
        ));
    }
    Ok(said)
}

/// Loads a model folder.
///
/// # Errors
/// Fails if a file is missing, is truncated or does not have the shapes that `config.json` gives.
pub fn load(folder: &Path, options: &LoadOptions) -> Result<Transformer, ModelError> {
    load_over(folder, None, options)
}

/// Loads a model like [`load`]. For an adapter's folder, `base` replaces the base that it names.
///
/// # Errors
/// Fails as [`load`] does, or if an adapter's base is missing or a different model.
pub fn load_over(
    folder: &Path,
    base: Option<&Path>,
    options: &LoadOptions,
) -> Result<Transformer, ModelError> {
    if is_adapter(folder) {
        let (config, weights) = load_merged(folder, base)?;
        return Transformer::from_weights(config, weights, options);
    }
    Transformer::from_weights(load_config(folder)?, load_weights(folder)?, options)
        .map_err(|error| ModelError::content(&folder.join(WEIGHTS), error.to_string()))
}

/// Loads a model with any adapter merged into its base, which is faster for inference. `base` replaces the base that
/// the adapter names.
///
/// # Errors
/// Fails as [`load`] does, or if an adapter's base is missing or a different model.
pub fn load_merged(
    folder: &Path,
    base: Option<&Path>,
) -> Result<(ModelConfig, BTreeMap<String, Tensor>), ModelError> {
    let adapter = load_adapter(folder, base)?;
    let mut config = load_config(&adapter.base.folder)?;
    config.add_ends(&generation_ends(folder)?);
    let mut weights = load_weights(&adapter.base.folder)?;
    adapter
        .merge(&config, &mut weights)
        .map_err(|error| ModelError::content(folder, error.to_string()))?;
    Ok((config, weights))
}

/// Reads the weights of a model folder as f32 on the CPU, named as in [`ModelConfig::parameter_shapes`]; merges an
/// adapter into its base.
///
/// # Errors
/// Fails as [`load`] does.
pub fn load_weights(folder: &Path) -> Result<BTreeMap<String, Tensor>, ModelError> {
    if is_adapter(folder) {
        return Ok(load_merged(folder, None)?.1);
    }
    read_weights(folder, &load_config(folder)?)
}

/// Returns the names of the parameters in a model folder.
///
/// # Errors
/// Fails as [`load_config`] does.
pub fn parameter_names(folder: &Path) -> Result<Vec<String>, ModelError> {
    let shapes = load_config(folder)?.parameter_shapes();
    Ok(shapes.into_iter().map(|(name, _)| name).collect())
}
