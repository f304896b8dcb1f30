//! Tokens that the base does not have: the `[tokenizer]` table, and the base with them.
//!
//! The base with its new tokens is a model folder of its own beside the run, `<run>.base`: training starts from it, data are
//! prepared with its tokenizer, and whatever compares weights compares with its weights. What is measured of the base is
//! measured of the base itself, by its own tokenizer.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use polymath_data::{ExtendedTokenizer, NewTokens};
use polymath_model::{ModelConfig, NewRows, TokenizerFiles};
use polymath_train::resolve_checkpoint;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::base::PinnedBase;
use crate::durable;
use crate::{FinetuneConfig, FinetuneError, Method};

/// Tells a folder that was made here from any other.
const MARK: &str = "extended.json";

/// The `[tokenizer]` table: tokens that the base's tokenizer lacks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct VocabularyConfig {
    /// New tokens that are recognized wherever they stand in a text.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub add: Vec<String>,
    /// File with more new tokens, one a line.
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
    /// Its folder, which is written when the run begins.
    pub folder: PathBuf,
    /// Its shape.
    pub model: ModelConfig,
    /// Its tokenizer.
    pub tokenizer: TokenizerFiles,
    base: PathBuf,
    rows: NewRows,
    /// What [`MARK`] says.
    mark: String,
}

impl Extension {
    /// The extension that the config asks for, in memory; [`Self::write`] writes it. `names` are those of the base's
    /// parameters, and `moving` those that are trained.
    ///
    /// # Errors
    /// Tokens that are no new ones; rows that would not be learnt; a folder of something else in its place.
    pub fn open(
        config: &FinetuneConfig,
        base: &PinnedBase,
        (names, moving): (&[String], &BTreeSet<String>),
    ) -> Result<Option<Self>, FinetuneError> {
        if config.tokenizer.is_empty() {
            return Ok(None);
        }
        let extended = extended(config, &base.folder)?;
        check_learnt(config.method, names, moving)?;
        let rows = NewRows {
            known: extended.known,
            added: extended.added.len(),
        };
        // Beside the run, not in it: the run folder is made when everything is known to be well.
        let mut folder = config.run.clone().into_os_string();
        folder.push(".base");
        let tokens: Vec<&str> = extended
            .added
            .iter()
            .map(|token| token.content.as_str())
            .collect();
        let mark =
            json!({"base": base.folder, "known_tokens": extended.known, "new_tokens": tokens});
        let extension = Self {
            folder: folder.into(),
            model: rows.extend(&polymath_model::load_config(&base.folder)?)?,
            tokenizer: with_tokens(base.tokenizer.clone(), &extended)?,
            base: base.folder.clone(),
            rows,
            mark: format!("{mark:#}\n"),
        };
        extension.refuse_occupied()?;
        Ok(Some(extension))
    }

    /// Refuses a folder of something else where the extension goes.
    fn refuse_occupied(&self) -> Result<(), FinetuneError> {
        let folder = &self.folder;
        let occupied = std::fs::read_dir(folder).is_ok_and(|mut files| files.next().is_some());
        if occupied && !folder.join(MARK).is_file() {
            return Err(FinetuneError::Config(format!(
                "`{}` is where the base with its new tokens goes, and holds something else: remove it, or choose another \
                 `run`",
                folder.display()
            )));
        }
        Ok(())
    }

    /// Writes the base with its new tokens, as a model folder.
    ///
    /// # Errors
    /// A base that can't be read; a folder of something else; a full disk.
    pub fn write(&self) -> Result<(), FinetuneError> {
        self.refuse_occupied()?;
        let (folder, model) = (&self.folder, &self.model);
        std::fs::create_dir_all(folder).map_err(failed(folder))?;
        durable::write(&folder.join(MARK), &self.mark)?;
        let mut weights = polymath_model::load_weights(&self.base)?;
        self.rows.fill(&mut weights)?;
        Ok(polymath_model::save_weights(
            folder,
            model,
            weights,
            &self.tokenizer,
        )?)
    }
}

/// Returns the tokenizer that a run of this config would save: the base's, with the new tokens; with it, the model's shape.
///
/// # Errors
/// A base that can't be read; tokens that are no new ones.
pub fn tokenizer_of(
    config: &FinetuneConfig,
) -> Result<(TokenizerFiles, ModelConfig), FinetuneError> {
    let base = resolve_checkpoint(&config.base)?;
    let files = TokenizerFiles::read(&polymath_model::tokenizer_in(&base)?)?;
    let model = polymath_model::load_config(&base)?;
    if config.tokenizer.is_empty() {
        return Ok((files, model));
    }
    let extended = extended(config, &base)?;
    let rows = NewRows {
        known: extended.known,
        added: extended.added.len(),
    };
    Ok((with_tokens(files, &extended)?, rows.extend(&model)?))
}

/// The tokenizer of the model in `base` with the config's new tokens.
fn extended(config: &FinetuneConfig, base: &Path) -> Result<ExtendedTokenizer, FinetuneError> {
    let tokenizer = polymath_model::tokenizer_in(base)?;
    ExtendedTokenizer::new(&tokenizer, &config.tokenizer.tokens()?)
        .map_err(|error| FinetuneError::Config(format!("`tokenizer`: {error}")))
}

/// Puts the extended tokenizer in the place of the base's, and names the new tokens where files beside it list all that were
/// added.
fn with_tokens(
    mut files: TokenizerFiles,
    extended: &ExtendedTokenizer,
) -> Result<TokenizerFiles, FinetuneError> {
    files.set("tokenizer.json", extended.json.as_bytes());
    let numbered = || extended.added.iter().zip(extended.known..);
    change(&mut files, "tokenizer_config.json", |settings| {
        let listed = settings.get_mut("added_tokens_decoder");
        if let Some(listed) = listed.and_then(Value::as_object_mut) {
            listed.extend(numbered().map(|(token, id)| (id.to_string(), json!(token))));
        }
    })?;
    change(&mut files, "added_tokens.json", |ids| {
        if let Some(ids) = ids.as_object_mut() {
            ids.extend(numbered().map(|(token, id)| (token.content.clone(), json!(id))));
        }
    })?;
    Ok(files)
}

/// Changes a file of JSON, where it is there.
fn change(
    files: &mut TokenizerFiles,
    name: &str,
    change: impl FnOnce(&mut Value),
) -> Result<(), FinetuneError> {
    let Some(text) = files.get(name) else {
        return Ok(());
    };
    let text = String::from_utf8_lossy(text);
    let json = polymath_input::parse_json(text.trim_start_matches(polymath_input::BYTE_ORDER_MARK));
    let mut json = json.map_err(|error| {
        FinetuneError::Config(format!("the base's `{name}` is no JSON: {error}"))
    })?;
    change(&mut json.value);
    let mut text = format!("{:#}\n", json.value);
    if let Some(half) = json.lone_surrogate {
        text = text.replace(half, "\u{fffd}");
    }
    files.set(name, text.into_bytes());
    Ok(())
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

fn failed(path: &Path) -> impl FnOnce(std::io::Error) -> FinetuneError {
    let path = path.to_path_buf();
    move |source| FinetuneError::File { path, source }
}
