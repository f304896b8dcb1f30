//! A model as a Hugging Face folder: `config.json`, `model.safetensors`, the tokenizer and its settings.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::Tensor;

use crate::adapter::{base_folder, is_adapter, load_adapter, save_adapter};
use crate::hugging_face::{self, TokenIds, read_json};
use crate::model_folder::{GENERATION_CONFIG, TOKENIZER, write};
use crate::weights::{
    WEIGHTS, counted, has_own_head, listed, passengers, read_weights, write_weights,
};
use crate::{LoadOptions, ModelConfig, ModelError, TokenizerFiles, Transformer};

const CONFIG: &str = "config.json";

/// The tokenizer of a model folder.
///
/// # Errors
/// The folder has none.
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

/// The same; an adapter that was saved without one has its base's, which `base` stands in for.
///
/// # Errors
/// As [`tokenizer_in`]; an adapter whose base is missing.
pub fn tokenizer_over(folder: &Path, base: Option<&Path>) -> Result<PathBuf, ModelError> {
    if is_adapter(folder) && !polymath_input::is_file(&folder.join(TOKENIZER))? {
        return tokenizer_in(&base_folder(folder, base)?);
    }
    tokenizer_in(folder)
}

/// Writes the model into the existing folder `folder`; of a model with an adapter, the adapter only. The caller makes it
/// durable and moves it into place.
///
/// # Errors
/// The file that can't be written or copied.
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

/// Writes weights, by the names of [`ModelConfig::parameter_shapes`], as a model folder.
///
/// # Errors
/// As [`save`].
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

/// Sees to it that the folder's `generation_config.json` names every token that ends a generated text; one that does so
/// already stays byte for byte.
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

/// Reads a JSON object, as Python writes it; `None` where there is no such file.
fn read_settings(path: &Path) -> Result<Option<serde_json::Value>, ModelError> {
    let found = polymath_tokenizer::read_optional_json(path)?;
    if found.as_ref().is_some_and(|settings| !settings.is_object()) {
        return Err(ModelError::content(path, "is no JSON object"));
    }
    Ok(found)
}

/// Reads only the `config.json` of a model folder, or of an adapter's base.
///
/// # Errors
/// No folder, no such file, or a field that is not supported.
pub fn load_config(folder: &Path) -> Result<ModelConfig, ModelError> {
    load_config_over(folder, None)
}

/// Refuses a path that leads to no folder, with the reason: it is not there, a link leads round, or it is something else.
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

/// The same; if the folder is an adapter's, `base` stands in for the base that it names. Whether that is the base that it
/// was trained on, loading asks.
///
/// # Errors
/// As [`load_config`]; an adapter whose base is missing.
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

/// What ends a generated text by the folder's `generation_config.json`, if there is one.
fn generation_ends(folder: &Path) -> Result<Vec<u32>, ModelError> {
    let path = folder.join(GENERATION_CONFIG);
    if !polymath_input::is_file(&path)? {
        return Ok(Vec::new());
    }
    let text = polymath_input::read_text(&path)?;
    hugging_face::generation_ends(&path, &text)
}

/// What a model folder, or an adapter's base, holds that is not used, each a sentence for a person.
///
/// # Errors
/// As [`load_config_over`].
pub fn left_out(folder: &Path, base: Option<&Path>) -> Result<Vec<String>, ModelError> {
    if is_adapter(folder) {
        return left_out(&base_folder(folder, base)?, None);
    }
    let config = load_config(folder)?;
    let mut said = Vec::new();
    let path = folder.join(CONFIG);
    let text = polymath_input::read_text(&path)?;
    let (stated, unknown) = read_json(&path, &text)?;
    if !unknown.is_empty() {
        said.push(format!(
            "`{}` has {} that no model of its family has a use for, left out: {}",
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
    let passengers = passengers(folder, &config)?;
    if !passengers.is_empty() {
        said.push(format!(
            "`{}` has {} beside the language model's, left out: {}",
            folder.display(),
            counted(passengers.len(), "tensor"),
            listed(&passengers)
        ));
    }
    Ok(said)
}

/// Reads a model folder.
///
/// # Errors
/// A file that is missing, cut off or of another shape than `config.json` says, by its name.
pub fn load(folder: &Path, options: &LoadOptions) -> Result<Transformer, ModelError> {
    load_over(folder, None, options)
}

/// The same; if the folder is an adapter's, `base` stands in for the base that it names.
///
/// # Errors
/// As [`load`]; an adapter whose base is missing or another one.
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

/// An adapter's base with the adapter in it: nothing is wrapped around a model that only computes. `base` stands in for
/// the base that the adapter names.
///
/// # Errors
/// An adapter whose base is missing or another one.
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

/// Reads the weights of a model folder, by the names of [`ModelConfig::parameter_shapes`], as f32 on the CPU; an adapter's merged into its base's.
///
/// # Errors
/// As [`load`], but for shapes.
pub fn load_weights(folder: &Path) -> Result<BTreeMap<String, Tensor>, ModelError> {
    if is_adapter(folder) {
        return Ok(load_merged(folder, None)?.1);
    }
    read_weights(folder, &load_config(folder)?)
}

/// The names of the parameters in a model folder.
///
/// # Errors
/// As [`load_config`].
pub fn parameter_names(folder: &Path) -> Result<Vec<String>, ModelError> {
    let shapes = load_config(folder)?.parameter_shapes();
    Ok(shapes.into_iter().map(|(name, _)| name).collect())
}
