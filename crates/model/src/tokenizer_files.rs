//! A tokenizer and what stands beside it, read once and saved with every checkpoint.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;

use crate::model_folder::{GENERATION_CONFIG, TOKENIZER, write};
use crate::{ModelConfig, ModelError, sha256_of_bytes};

const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
/// Goes along from a base to what is tuned from it, where it exists; also beside an adapter, so that nothing is lost when
/// it is merged.
const COMPANIONS: [&str; 5] = [
    TOKENIZER_CONFIG,
    GENERATION_CONFIG,
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
];

/// A `tokenizer.json` and its companions, in memory: what becomes of the folder that they were read from makes no
/// difference to the checkpoints of a run.
#[derive(Debug, Clone, Default)]
pub struct TokenizerFiles {
    /// Where it was read, for errors.
    path: PathBuf,
    /// By name.
    files: BTreeMap<String, Arc<[u8]>>,
}

impl TokenizerFiles {
    /// Reads a `tokenizer.json`, and its companions where they stand beside it.
    ///
    /// # Errors
    /// A file that can't be read.
    pub fn read(tokenizer: &Path) -> Result<Self, ModelError> {
        let mut files = BTreeMap::from([(TOKENIZER.to_owned(), read(tokenizer)?)]);
        for name in COMPANIONS {
            let path = tokenizer.with_file_name(name);
            if polymath_input::is_file(&path)? {
                files.insert(name.to_owned(), read(&path)?);
            }
        }
        Ok(Self {
            path: tokenizer.to_path_buf(),
            files,
        })
    }

    /// The content of one of the files, by its name.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.files.get(name).map(AsRef::as_ref)
    }

    /// Replaces one of the files, or adds it.
    pub fn set(&mut self, name: &str, content: impl Into<Arc<[u8]>>) {
        self.files.insert(name.to_owned(), content.into());
    }

    /// SHA-256 of the `tokenizer.json`.
    ///
    /// # Errors
    /// There is none.
    pub fn sha256(&self) -> Result<String, ModelError> {
        Ok(sha256_of_bytes(self.json()?))
    }

    fn json(&self) -> Result<&[u8], ModelError> {
        self.get(TOKENIZER)
            .ok_or_else(|| ModelError::content(&self.path, "there is no `tokenizer.json`"))
    }

    /// Writes the files into the existing folder `folder`; where the tokenizer's settings are missing, they are written for
    /// a model of `config`.
    ///
    /// # Errors
    /// The file that can't be written; a tokenizer that can't be read.
    pub fn write(&self, folder: &Path, config: &ModelConfig) -> Result<(), ModelError> {
        let json = self.json()?;
        for (name, content) in &self.files {
            write(&folder.join(name), content)?;
        }
        if self.files.contains_key(TOKENIZER_CONFIG) {
            return Ok(());
        }
        let vocabulary = polymath_tokenizer::parse(&self.path, json)
            .map_err(|error| ModelError::Input(error.to_string()))?;
        let settings = json!({
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": vocabulary.id_to_token(config.bos_token_id),
            "eos_token": vocabulary.id_to_token(config.eos_token_id),
            "model_max_length": config.max_position_embeddings,
            "clean_up_tokenization_spaces": false,
        });
        write(
            &folder.join(TOKENIZER_CONFIG),
            format!("{settings:#}\n").as_bytes(),
        )
    }
}

fn read(path: &Path) -> Result<Arc<[u8]>, ModelError> {
    let bytes = polymath_files::read(path).map_err(ModelError::file("read", path))?;
    Ok(bytes.into())
}
