//! A tokenizer and the files next to it, read once and saved with every checkpoint.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};

use crate::model_folder::{GENERATION_CONFIG, TOKENIZER, write};
use polymath_base::sha256_of_bytes;

use crate::{ModelConfig, ModelError};

const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
const CHAT_TEMPLATE: &str = "chat_template.jinja";
/// Files that are copied from a base to the models tuned from it, if they exist. They are also saved with an adapter,
/// so that they are not lost when it is merged.
const COMPANIONS: [&str; 6] = [
    TOKENIZER_CONFIG,
    GENERATION_CONFIG,
    "special_tokens_map.json",
    "added_tokens.json",
    CHAT_TEMPLATE,
    "additional_chat_templates/tool_use.jinja",
];

/// Contents of a `tokenizer.json` and the files next to it. They are kept in memory, so that later changes in their
/// folder do not affect the checkpoints of a run.
#[derive(Debug, Clone, Default)]
pub struct TokenizerFiles {
    /// Path of the tokenizer, for errors.
    path: PathBuf,
    /// Contents of the files, by file name.
    files: BTreeMap<String, Arc<[u8]>>,
}

impl TokenizerFiles {
    /// Reads a `tokenizer.json` and the files next to it.
    ///
    /// # Errors
    /// Fails if a file can't be read.
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

    /// Returns the content of a file by its name.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.files.get(name).map(AsRef::as_ref)
    }

    /// Replaces the content of a file, or adds a file.
    pub fn set(&mut self, name: &str, content: impl Into<Arc<[u8]>>) {
        self.files.insert(name.to_owned(), content.into());
    }

    /// Adds a chat template if one is given and the tokenizer has none.
    pub fn add_chat_template(&mut self, template: Option<&str>) {
        let settings = self.get(TOKENIZER_CONFIG).unwrap_or(b"null");
        let settings: Value = serde_json::from_slice(settings).unwrap_or_default();
        let is_missing = self.get(CHAT_TEMPLATE).is_none() && settings["chat_template"].is_null();
        if let Some(template) = template.filter(|_| is_missing) {
            self.set(CHAT_TEMPLATE, template.as_bytes());
        }
    }

    /// Returns the SHA-256 of the `tokenizer.json`.
    ///
    /// # Errors
    /// Fails if there is no `tokenizer.json`.
    pub fn sha256(&self) -> Result<String, ModelError> {
        Ok(sha256_of_bytes(self.json()?))
    }

    fn json(&self) -> Result<&[u8], ModelError> {
        self.get(TOKENIZER)
            .ok_or_else(|| ModelError::content(&self.path, "there is no `tokenizer.json`"))
    }

    /// Writes the files into the existing folder `folder`. If the tokenizer's settings are missing, writes settings
    /// for a model of `config`.
    ///
    /// # Errors
    /// Fails if a file can't be written, or if the tokenizer can't be read.
    pub fn write(&self, folder: &Path, config: &ModelConfig) -> Result<(), ModelError> {
        let json = self.json()?;
        for (name, content) in &self.files {
            let path = folder.join(name);
            if let Some(inner) = path.parent().filter(|inner| *inner != folder) {
                std::fs::create_dir_all(inner)
                    .map_err(ModelError::file("make the folder", inner))?;
            }
            write(&path, content)?;
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
    let bytes = polymath_base::read(path).map_err(ModelError::file("read", path))?;
    Ok(bytes.into())
}

#[cfg(test)]
mod tests {
    use polymath_tokenizer::EndTokens;

    use super::*;
    use crate::ArchitectureConfig;

    /// Checks that the files beside a tokenizer are written as they were read, also one in a folder of its own.
    #[test]
    fn companions_are_copied() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::create_dir(from.path().join("additional_chat_templates")).unwrap();
        for name in COMPANIONS.iter().chain(&[TOKENIZER]) {
            std::fs::write(from.path().join(name), name).unwrap();
        }
        let ends = EndTokens { begin: 0, end: 0 };
        let config = ArchitectureConfig::of_shape(8, 1, 1)
            .resolve(4, 4, ends)
            .unwrap();
        let files = TokenizerFiles::read(&from.path().join(TOKENIZER)).unwrap();
        files.write(to.path(), &config).unwrap();
        for name in COMPANIONS.iter().chain(&[TOKENIZER]) {
            let copied = std::fs::read_to_string(to.path().join(name)).unwrap();
            assert_eq!(copied, *name);
        }
    }
}
