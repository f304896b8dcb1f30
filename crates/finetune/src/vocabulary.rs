//! Base extended by the new tokens of the `[tokenizer]` table.
//!
//! The extended base is a model folder beside the run, `<run>.base`. Training starts from it, data are prepared with
//! its tokenizer, and weights are compared with its weights. Scores of the base are those of the original base with
//! its own tokenizer.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use polymath_data::ExtendedTokenizer;
use polymath_model::{ModelConfig, NewRows, TokenizerFiles};
use polymath_train::resolve_checkpoint;
use serde_json::{Value, json};

use crate::base::PinnedBase;
use crate::durable;
use crate::{FinetuneConfig, FinetuneError, Method};

/// Name of a file that marks a folder as an extended base of this program, and tells what it was made from.
const MARK: &str = "extended.json";

/// Base whose vocabulary is extended by new tokens.
#[derive(Clone)]
pub(crate) struct Extension {
    /// Folder of the extended base, written when the run begins.
    pub folder: PathBuf,
    /// Config of the extended model.
    pub model: ModelConfig,
    /// Tokenizer of the extended model.
    pub tokenizer: TokenizerFiles,
    base: PathBuf,
    rows: NewRows,
    /// Content of the file [`MARK`], which tells from which base and tokens the extended base was made.
    mark: String,
}

impl Extension {
    /// Builds the extended base in memory; [`Self::write`] writes it to disk. `names` are the names of all parameters
    /// of the base, `trainable` the names of the trained parameters.
    ///
    /// # Errors
    /// Fails if a token is not new, if the rows of the new tokens would not be trained, or if the folder has other
    /// content.
    pub fn open(
        config: &FinetuneConfig,
        base: &PinnedBase,
        names: &[String],
        trainable: &BTreeSet<String>,
    ) -> Result<Option<Self>, FinetuneError> {
        if config.tokenizer.is_empty() {
            return Ok(None);
        }
        let extended = extended(config, &base.folder)?;
        check_trained(config.method, names, trainable)?;
        let rows = NewRows {
            known: extended.known,
            added: extended.added.len(),
        };
        // The folder is beside the run, since the run folder is created only after all checks.
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

    /// Fails if the folder of the extended base has other content.
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

    /// Moves the extended base to a temporary folder, for a dry run, which must write nothing beside the run.
    pub fn move_to(&mut self, scratch: &Path) {
        self.folder = scratch.join("extended");
    }

    /// Writes the extended base as a model folder.
    ///
    /// # Errors
    /// Fails if the base can't be read, the folder has other content, or the disk is full.
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

/// Returns the tokenizer that a run of this config would save (the base's with the new tokens) and the model's
/// config.
///
/// # Errors
/// Fails if the base can't be read or a token is not new.
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

/// Returns the tokenizer of the model in `base`, with the config's new tokens.
fn extended(config: &FinetuneConfig, base: &Path) -> Result<ExtendedTokenizer, FinetuneError> {
    let tokenizer = polymath_model::tokenizer_in(base)?;
    ExtendedTokenizer::new(&tokenizer, &config.tokenizer.tokens()?)
        .map_err(|error| FinetuneError::Config(format!("`tokenizer`: {error}")))
}

/// Replaces the tokenizer among the files by the extended one, and adds the new tokens to the settings files that list
/// added tokens.
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

/// Changes the content of a JSON file by a function; does nothing if the file does not exist.
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
        FinetuneError::Config(format!("the base's `{name}` is not valid JSON: {error}"))
    })?;
    change(&mut json.value);
    let mut text = format!("{:#}\n", json.value);
    if let Some(half) = json.lone_surrogate {
        text = text.replace(half, "\u{fffd}");
    }
    files.set(name, text.into_bytes());
    Ok(())
}

/// Fails unless the rows of the new tokens are trained. All of them start as the mean of the other rows, and would
/// stay the same.
fn check_trained(
    method: Method,
    names: &[String],
    trainable: &BTreeSet<String>,
) -> Result<(), FinetuneError> {
    let by_token = NewRows::parameters(names);
    let Some(name) = by_token.iter().find(|name| !trainable.contains(**name)) else {
        return Ok(());
    };
    let modules: Vec<&str> = by_token
        .iter()
        .map(|name| name.strip_suffix(".weight").unwrap_or(name))
        .collect();
    let train = format!("[\"{}\"]", modules.join("\", \""));
    let what = format!("`tokenizer` adds tokens, whose rows of `{name}` have to be learned");
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
