//! Location of a model: its folder and, for an adapter, the folder of the base.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use candle_core::Tensor;

use crate::adapter::{base_folder, is_adapter, load_adapter};
use crate::gguf::MAGIC;
use crate::hugging_face::{self, read_json};
use crate::model_folder::{CONFIG, GENERATION_CONFIG, TOKENIZER};
use crate::weights::{WEIGHTS, counted, has_own_head, listed, read_weights, unused_tensors};
use crate::{LoadOptions, ModelConfig, ModelError, Transformer};

/// Location of a model: the folder of a model or adapter, and optionally a base in place of the one that the adapter
/// names.
#[derive(Debug, Clone, Copy)]
pub struct ModelSource<'a> {
    /// Folder of the model or adapter.
    pub folder: &'a Path,
    /// Folder to use as the adapter's base; `None` for the base that the adapter names. Always `None` for a model that
    /// is not an adapter.
    pub base: Option<&'a Path>,
}

impl<'a> ModelSource<'a> {
    /// Creates the location of the model in `folder`. If it is an adapter, its base is the one that it names.
    pub fn of(folder: &'a Path) -> Self {
        Self { folder, base: None }
    }

    /// Creates the location of the model in `folder`. If it is an adapter, its base is `base`.
    pub fn over(folder: &'a Path, base: &'a Path) -> Self {
        Self {
            folder,
            base: Some(base),
        }
    }

    /// Reads only the `config.json` of the model, or of the adapter's base. Whether the adapter was trained on this
    /// base is checked only when the model is loaded.
    ///
    /// # Errors
    /// Fails if the folder or the file is missing, a field is not supported, or an adapter's base is missing.
    pub fn config(self) -> Result<ModelConfig, ModelError> {
        let Self { folder, base } = self;
        check_folder(folder)?;
        if is_adapter(folder) {
            let mut config = ModelSource::of(&base_folder(folder, base)?).config()?;
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
                "has no `config.json`: expected a checkpoint such as `checkpoints/<run>/best`"
                    .into()
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

    /// Returns the path of the tokenizer file. An adapter without one uses the tokenizer of its base.
    ///
    /// # Errors
    /// Fails if there is none, or if an adapter's base is missing.
    pub fn tokenizer(self) -> Result<PathBuf, ModelError> {
        let Self { folder, base } = self;
        if is_adapter(folder) && !polymath_input::is_file(&folder.join(TOKENIZER))? {
            return tokenizer_in(&base_folder(folder, base)?);
        }
        tokenizer_in(folder)
    }

    /// Loads the model; merges an adapter into its base.
    ///
    /// # Errors
    /// Fails with the file that is missing, cut off or of another shape than `config.json` says; if an adapter's base
    /// is missing or a different one.
    pub fn load(self, options: &LoadOptions) -> Result<Transformer, ModelError> {
        if is_adapter(self.folder) {
            let (config, weights) = self.merged()?;
            return Transformer::from_weights(config, weights, options);
        }
        Transformer::from_weights(self.config()?, self.weights()?, options)
            .map_err(|error| ModelError::content(&self.folder.join(WEIGHTS), error.to_string()))
    }

    /// Reads the weights as f32 on the CPU, named as in [`ModelConfig::parameter_shapes`]; merges an adapter into its
    /// base.
    ///
    /// # Errors
    /// Fails as [`Self::load`] does, except for shapes.
    pub fn weights(self) -> Result<BTreeMap<String, Tensor>, ModelError> {
        if is_adapter(self.folder) {
            return Ok(self.merged()?.1);
        }
        read_weights(self.folder, &self.config()?)
    }

    /// Merges the adapter into its base.
    fn merged(self) -> Result<(ModelConfig, BTreeMap<String, Tensor>), ModelError> {
        let adapter = load_adapter(self.folder, self.base)?;
        let base = ModelSource::of(&adapter.base.folder);
        let mut config = base.config()?;
        config.add_ends(&generation_ends(self.folder)?);
        let mut weights = base.weights()?;
        adapter
            .merge(&config, &mut weights)
            .map_err(|error| ModelError::content(self.folder, error.to_string()))?;
        Ok((config, weights))
    }

    /// Describes the content of the model folder, or of the adapter's base, that is not used: one sentence each.
    ///
    /// # Errors
    /// Fails as [`Self::config`] does.
    pub fn unused_content(self) -> Result<Vec<String>, ModelError> {
        let Self { folder, base } = self;
        if is_adapter(folder) {
            return ModelSource::of(&base_folder(folder, base)?).unused_content();
        }
        let config = self.config()?;
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
}

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

/// Checks that the path of a model is a folder.
///
/// # Errors
/// Fails with the reason: the path does not exist, is a circular link, or a file; of a GGUF file, with the command that
/// imports it.
pub fn check_folder(folder: &Path) -> Result<(), ModelError> {
    let expected = "expected a checkpoint such as `checkpoints/<run>/best`";
    let reason = match std::fs::metadata(folder) {
        Ok(found) if found.is_dir() => return Ok(()),
        Ok(_) if is_gguf(folder) => format!(
            "is a GGUF file: `polymath import '{}' --output <folder>` makes a model folder of it",
            folder.display()
        ),
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

/// Returns true if a file begins with the signature of GGUF files; false as well if it cannot be read, since it is no
/// model folder in any case.
fn is_gguf(path: &Path) -> bool {
    let mut magic = [0; 4];
    let read = polymath_base::open(path).and_then(|mut file| file.read_exact(&mut magic));
    read.is_ok() && magic == *MAGIC
}

/// Returns the end tokens in the folder's `generation_config.json`, if there is one.
pub(crate) fn generation_ends(folder: &Path) -> Result<Vec<u32>, ModelError> {
    let path = folder.join(GENERATION_CONFIG);
    if !polymath_input::is_file(&path)? {
        return Ok(Vec::new());
    }
    let text = polymath_input::read_text(&path)?;
    hugging_face::generation_ends(&path, &text)
}
