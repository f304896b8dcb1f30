//! Tokens that the base does not have: the `[tokenizer]` table, and the base with them.
//!
//! The base with its new tokens is a model folder of its own beside the run, `<run>.base`: training starts from it, data are
//! prepared with its tokenizer, and whatever compares weights compares with its weights. What is measured of the base is
//! measured of the base itself, by its own tokenizer.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use polymath_data::{ExtendedTokenizer, NewTokens};
use polymath_model::{ModelConfig, NewRows, TokenizerFiles};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{FinetuneConfig, FinetuneError, Method};

/// Tells a folder that was made here from any other.
const MARK: &str = "extended.json";

/// The `[tokenizer]` table: tokens that the base's tokenizer lacks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct VocabularyConfig {
    /// New tokens that are recognised wherever they stand in a text.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub add: Vec<String>,
    /// A file with more of them, a line each.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub add_file: Option<PathBuf>,
    /// New special tokens: meant only where a chat template writes them, and silent in decoded text.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub add_special: Vec<String>,
}

impl VocabularyConfig {
    /// Whether nothing is added.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn tokens(&self) -> Result<NewTokens, FinetuneError> {
        let mut ordinary = self.add.clone();
        if let Some(path) = &self.add_file {
            let text = polymath_input::read_text(path)?;
            let lines = text.lines().filter(|line| !line.is_empty());
            ordinary.extend(lines.map(str::to_owned));
        }
        Ok(NewTokens {
            ordinary,
            special: self.add_special.clone(),
        })
    }
}

/// The base with new tokens.
pub(crate) struct Extension {
    /// Its folder.
    pub folder: PathBuf,
    /// Its shape.
    pub model: ModelConfig,
    base: PathBuf,
    rows: NewRows,
}

impl Extension {
    /// The extension that the config asks for, with its tokenizer and `config.json` in their place; [`Self::write_weights`]
    /// makes it whole. `names` are those of the base's parameters, and `moving` those that are trained.
    ///
    /// # Errors
    /// Tokens that are no new ones; rows that would not be learnt; a folder of something else in its place.
    pub fn open(
        config: &FinetuneConfig,
        base: &Path,
        (names, moving): (&[String], &BTreeSet<String>),
    ) -> Result<Option<Self>, FinetuneError> {
        if config.tokenizer.is_empty() {
            return Ok(None);
        }
        let tokenizer = polymath_model::tokenizer_in(base)?;
        let extended = ExtendedTokenizer::new(&tokenizer, &config.tokenizer.tokens()?)
            .map_err(|error| FinetuneError::Config(format!("`tokenizer`: {error}")))?;
        check_learnt(config.method, names, moving)?;
        let rows = NewRows {
            known: extended.known,
            added: extended.added.len(),
        };
        // Beside the run, not in it: the run folder is made when everything is known to be well.
        let mut folder = config.run.clone().into_os_string();
        folder.push(".base");
        let extension = Self {
            folder: folder.into(),
            model: rows.extend(&polymath_model::load_config(base)?)?,
            base: base.to_path_buf(),
            rows,
        };
        extension.write_tokenizer(&tokenizer, &extended)?;
        Ok(Some(extension))
    }

    fn write_tokenizer(
        &self,
        tokenizer: &Path,
        extended: &ExtendedTokenizer,
    ) -> Result<(), FinetuneError> {
        let folder = &self.folder;
        let occupied = std::fs::read_dir(folder).is_ok_and(|mut files| files.next().is_some());
        if occupied && !folder.join(MARK).is_file() {
            return Err(FinetuneError::Config(format!(
                "`{}` is where the base with its new tokens goes, and holds something else: remove it, or choose another \
                 `run`",
                folder.display()
            )));
        }
        std::fs::create_dir_all(folder).map_err(failed(folder))?;
        let tokens: Vec<&str> = extended
            .added
            .iter()
            .map(|token| token.content.as_str())
            .collect();
        let mark = json!({"base": self.base, "known_tokens": extended.known, "new_tokens": tokens});
        write(&folder.join(MARK), &format!("{mark:#}\n"))?;
        let files = TokenizerFiles {
            tokenizer: tokenizer.to_path_buf(),
        };
        polymath_model::save_tokenizer(folder, &self.model, &files)?;
        write(&folder.join("tokenizer.json"), &extended.json)?;
        self.list_tokens(extended)?;
        write(&folder.join("config.json"), &self.model.to_json())
    }

    /// Names the new tokens where files beside the tokenizer list all that were added.
    fn list_tokens(&self, extended: &ExtendedTokenizer) -> Result<(), FinetuneError> {
        let numbered = || extended.added.iter().zip(extended.known..);
        self.change("tokenizer_config.json", |settings| {
            let listed = settings.get_mut("added_tokens_decoder");
            if let Some(listed) = listed.and_then(Value::as_object_mut) {
                listed.extend(numbered().map(|(token, id)| (id.to_string(), json!(token))));
            }
        })?;
        self.change("added_tokens.json", |ids| {
            if let Some(ids) = ids.as_object_mut() {
                ids.extend(numbered().map(|(token, id)| (token.content.clone(), json!(id))));
            }
        })
    }

    /// Changes a file of JSON, where it is there.
    fn change(&self, name: &str, change: impl FnOnce(&mut Value)) -> Result<(), FinetuneError> {
        let path = self.folder.join(name);
        if !path.is_file() {
            return Ok(());
        }
        let mut value = polymath_input::read_json(&path)?;
        change(&mut value);
        write(&path, &format!("{value:#}\n"))
    }

    /// Writes the base's weights with the new rows.
    ///
    /// # Errors
    /// A base that can't be read; a full disk.
    pub fn write_weights(&self) -> Result<(), FinetuneError> {
        let mut weights = polymath_model::load_weights(&self.base)?;
        self.rows.fill(&mut weights)?;
        let tokenizer = TokenizerFiles {
            tokenizer: polymath_model::tokenizer_in(&self.folder)?,
        };
        let (folder, model) = (&self.folder, &self.model);
        Ok(polymath_model::save_weights(
            folder, model, weights, &tokenizer,
        )?)
    }
}

/// New rows begin as the mean of the others, all the same: they have to be learnt.
fn check_learnt(
    method: Method,
    names: &[String],
    moving: &BTreeSet<String>,
) -> Result<(), FinetuneError> {
    let by_token = NewRows::parameters(names);
    let Some(name) = by_token.iter().find(|name| !moving.contains(**name)) else {
        return Ok(());
    };
    let modules: Vec<&str> = by_token
        .iter()
        .map(|name| name.strip_suffix(".weight").unwrap_or(name))
        .collect();
    let train = format!("[\"{}\"]", modules.join("\", \""));
    let what = format!("`tokenizer` adds tokens, whose rows of `{name}` have to be learnt");
    Err(FinetuneError::Config(if method.adapts() {
        format!(
            "{what}, and an adapter (`method` = `{}`) leaves them as they are: use `method = \"full\"`, or `\"frozen\"` with \
             `frozen.train = {train}`; an adapter can start from what that gives",
            method.name()
        )
    } else {
        format!("{what}, and `[frozen]` leaves them as they are: `frozen.train` must have {train}")
    }))
}

fn write(path: &Path, text: &str) -> Result<(), FinetuneError> {
    std::fs::write(path, text).map_err(failed(path))
}

fn failed(path: &Path) -> impl FnOnce(std::io::Error) -> FinetuneError {
    let path = path.to_path_buf();
    move |source| FinetuneError::File { path, source }
}
