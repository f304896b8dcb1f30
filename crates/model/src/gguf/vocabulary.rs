//! A `tokenizer.json` as keys of a GGUF.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use candle_core::quantized::gguf_file::Value;
use tokenizers::Tokenizer;

use super::scheme::Scheme;
use crate::{ModelConfig, ModelError};

/// llama.cpp's kinds of tokens.
pub(super) const NORMAL: i32 = 1;
/// Stands for what is no token.
pub(super) const UNKNOWN: i32 = 2;
/// Never read from text unless asked for.
pub(super) const CONTROL: i32 = 3;
/// Always read from text as it stands.
pub(super) const USER_DEFINED: i32 = 4;
pub(super) const UNUSED: i32 = 5;
pub(super) const BYTE: i32 = 6;
/// Beside `tokenizer.json`: special tokens by name, and how text begins.
pub(super) const SETTINGS: &str = "tokenizer_config.json";
/// What ends a text beside the end of a document: a turn, a message.
pub(super) const OTHER_ENDS: [&str; 2] =
    ["tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"];
/// Keys of [`SETTINGS`], and llama.cpp's.
pub(super) const NAMED: [(&str, &str); 2] = [
    ("pad_token", "tokenizer.ggml.padding_token_id"),
    ("unk_token", "tokenizer.ggml.unknown_token_id"),
];

/// What fills a vocabulary up to the model's.
pub(super) fn filler(id: usize) -> String {
    format!("[PAD{id}]")
}

/// A tokenizer as llama.cpp has it.
pub(super) struct Vocabulary {
    tokens: Vec<String>,
    kinds: Vec<i32>,
    scheme: Scheme,
    begins: bool,
    named: Vec<(&'static str, u32)>,
    template: Option<String>,
    /// What a user should know of it.
    pub notes: Vec<String>,
}

impl Vocabulary {
    /// Of the tokenizer at `path`, for a model of this shape; `template` is its chat template.
    ///
    /// # Errors
    /// A tokenizer of another kind, or one that llama.cpp would cut text otherwise for, or with more tokens than the model.
    pub fn of(
        path: &Path,
        config: &ModelConfig,
        template: Option<&str>,
    ) -> Result<Self, ModelError> {
        let refuse = |message: String| ModelError::content(path, message);
        let tokenizer =
            polymath_tokenizer::open_alone(path).map_err(|error| refuse(error.to_string()))?;
        let json = serde_json::to_value(&tokenizer).map_err(|error| refuse(error.to_string()))?;
        let scheme = Scheme::of(&json).map_err(&refuse)?;
        let (tokens, kinds) = tokens(&tokenizer, &scheme, config.vocab_size).map_err(&refuse)?;
        let settings = settings(&path.with_file_name(SETTINGS))?;
        let mut notes = strips(&tokenizer);
        if let Some(others) = config
            .other_eos_token_ids
            .get(OTHER_ENDS.len()..)
            .filter(|ids| !ids.is_empty())
        {
            notes.push(format!(
                "a GGUF names three tokens that end a text: there, {others:?} end none"
            ));
        }
        notes.extend(scheme.note());
        Ok(Self {
            tokens,
            kinds,
            scheme,
            begins: begins(&tokenizer, &settings, config.bos_token_id, template),
            named: named(&tokenizer, &settings),
            template: template.map(str::to_owned),
            notes,
        })
    }

    /// The keys for a model of `config`.
    pub fn keys(self, config: &ModelConfig) -> Vec<(String, Value)> {
        let kinds = self.kinds.into_iter().map(Value::I32).collect();
        let mut keys = self.scheme.keys(&self.tokens);
        let tokens = self.tokens.into_iter().map(Value::String).collect();
        keys.extend([
            ("tokenizer.ggml.tokens", Value::Array(tokens)),
            ("tokenizer.ggml.token_type", Value::Array(kinds)),
            (
                "tokenizer.ggml.bos_token_id",
                Value::U32(config.bos_token_id),
            ),
            (
                "tokenizer.ggml.eos_token_id",
                Value::U32(config.eos_token_id),
            ),
            ("tokenizer.ggml.add_bos_token", Value::Bool(self.begins)),
        ]);
        let ends = OTHER_ENDS.iter().zip(&config.other_eos_token_ids);
        keys.extend(ends.map(|(key, id)| (*key, Value::U32(*id))));
        let named = self.named.into_iter();
        keys.extend(named.map(|(key, id)| (key, Value::U32(id))));
        let template = self.template.map(Value::String);
        keys.extend(template.map(|template| ("tokenizer.chat_template", template)));
        keys.into_iter()
            .map(|(key, value)| (key.to_owned(), value))
            .collect()
    }
}

/// Every id's token and its kind; ids without one get a name that no text has.
fn tokens(
    tokenizer: &Tokenizer,
    scheme: &Scheme,
    size: usize,
) -> Result<(Vec<String>, Vec<i32>), String> {
    let added = tokenizer.get_added_tokens_decoder();
    let names: BTreeMap<u32, String> = tokenizer
        .get_vocab(true)
        .into_iter()
        .map(|(token, id)| (id, token))
        .collect();
    if let Some((id, token)) = names.last_key_value()
        && *id as usize >= size
    {
        return Err(format!(
            "the token `{token}` has the id {id}, but the model's `vocab_size` is {size}: give the model that this \
             tokenizer belongs to"
        ));
    }
    let kind = |id: u32, token: &str| {
        scheme.kind(token).unwrap_or(match added.get(&id) {
            Some(token) if token.special => CONTROL,
            Some(_) => USER_DEFINED,
            None => NORMAL,
        })
    };
    let (mut tokens, mut kinds) = (Vec::with_capacity(size), Vec::with_capacity(size));
    let mut ids: HashMap<String, usize> = HashMap::new();
    for id in 0..size {
        let found = names.get(&(id as u32));
        let token = found.cloned().unwrap_or_else(|| filler(id));
        if let Some(before) = ids.insert(token.clone(), id) {
            return Err(format!(
                "the token `{token}` has the ids {before} and {id}: llama.cpp takes each once"
            ));
        }
        kinds.push(found.map_or(UNUSED, |_| kind(id as u32, &token)));
        tokens.push(token);
    }
    Ok((tokens, kinds))
}

/// What llama.cpp leaves out of added tokens.
fn strips(tokenizer: &Tokenizer) -> Vec<String> {
    let mut names: Vec<String> = tokenizer
        .get_added_tokens_decoder()
        .into_values()
        .filter(|token| token.lstrip || token.rstrip || token.single_word)
        .map(|token| token.content)
        .collect();
    names.sort();
    if names.is_empty() {
        return names;
    }
    vec![format!(
        "llama.cpp does not take white space away beside the tokens `{}`, nor ask for words of their own",
        names.join("`, `")
    )]
}

/// The settings beside a tokenizer; null where there are none.
fn settings(path: &Path) -> Result<serde_json::Value, ModelError> {
    if !polymath_input::is_file(path)? {
        return Ok(serde_json::Value::Null);
    }
    Ok(polymath_input::read_json(path)?)
}

/// Whether text begins with `bos`: as the settings say, or as the tokenizer itself does it; where neither tells, a chat
/// template writes its own beginning, and other text begins as every document did in training here.
fn begins(
    tokenizer: &Tokenizer,
    settings: &serde_json::Value,
    bos: u32,
    template: Option<&str>,
) -> bool {
    if let Some(told) = settings["add_bos_token"].as_bool() {
        return told;
    }
    let first = |special: bool| {
        let encoded = tokenizer.encode_fast("a", special).ok()?;
        encoded.get_ids().first().copied()
    };
    let itself = first(true) == Some(bos) && first(false) != Some(bos);
    itself || template.is_none()
}

/// The special tokens that the settings name, as a text or an object with its `content`.
fn named(tokenizer: &Tokenizer, settings: &serde_json::Value) -> Vec<(&'static str, u32)> {
    let id = |key: &str| {
        let value = &settings[key];
        let name = value.as_str().or(value["content"].as_str())?;
        tokenizer.token_to_id(name)
    };
    NAMED
        .into_iter()
        .filter_map(|(key, theirs)| Some((theirs, id(key)?)))
        .collect()
}
