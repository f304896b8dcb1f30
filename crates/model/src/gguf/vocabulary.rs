//! Conversion of a `tokenizer.json` to GGUF keys.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use candle_core::quantized::gguf_file::Value;
use tokenizers::Tokenizer;

use super::scheme::Scheme;
use crate::{ModelConfig, ModelError};

/// Kind of an ordinary token; these numbers are llama.cpp's.
pub(super) const NORMAL: i32 = 1;
/// Kind of the token for text that no other token covers.
pub(super) const UNKNOWN: i32 = 2;
/// Kind of special tokens, which are recognized in text only on request.
pub(super) const CONTROL: i32 = 3;
/// Kind of tokens that are always matched literally in text.
pub(super) const USER_DEFINED: i32 = 4;
pub(super) const UNUSED: i32 = 5;
pub(super) const BYTE: i32 = 6;
/// Settings file next to `tokenizer.json`: special tokens by name, and whether texts begin with the begin token.
pub(super) const SETTINGS: &str = "tokenizer_config.json";
/// Keys of further tokens that end a text: the end of a turn, the end of a message.
pub(super) const OTHER_ENDS: [&str; 2] =
    ["tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"];
/// Keys of [`SETTINGS`] and the corresponding llama.cpp keys.
pub(super) const NAMED: [(&str, &str); 2] = [
    ("pad_token", "tokenizer.ggml.padding_token_id"),
    ("unk_token", "tokenizer.ggml.unknown_token_id"),
];

/// Returns the name of a token that fills the vocabulary up to the model's size.
pub(super) fn filler(id: usize) -> String {
    format!("[PAD{id}]")
}

/// A tokenizer in llama.cpp's form: tokens, their kinds and how text is split.
pub(super) struct Vocabulary {
    tokens: Vec<String>,
    kinds: Vec<i32>,
    scheme: Scheme,
    begins: bool,
    named: Vec<(&'static str, u32)>,
    template: Option<String>,
    /// Notes for the user about differences in llama.cpp.
    pub notes: Vec<String>,
}

impl Vocabulary {
    /// Converts the tokenizer at `path` for a model of this configuration; `template` is its chat template.
    ///
    /// # Errors
    /// Fails if the kind of tokenizer is not supported, if llama.cpp would split text differently, or if the
    /// tokenizer has more tokens than the model.
    pub fn of(
        path: &Path,
        config: &ModelConfig,
        template: Option<&str>,
    ) -> Result<Self, ModelError> {
        let refuse = |message: String| ModelError::content(path, message);
        // The settings beside the tokenizer can make tokens special, and change their flags.
        let tokenizer =
            polymath_tokenizer::open(path).map_err(|error| refuse(error.to_string()))?;
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
                "a GGUF names at most three tokens that end a text: in llama.cpp, {others:?} do not end one"
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

    /// Returns the GGUF keys of the tokenizer, for a model of `config`.
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

/// Returns the name and the kind of the token for every ID. IDs without a token get a filler name that no text
/// contains.
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
                "the token `{token}` has the ids {before} and {id}: llama.cpp allows each only once"
            ));
        }
        kinds.push(found.map_or(UNUSED, |_| kind(id as u32, &token)));
        tokens.push(token);
    }
    Ok((tokens, kinds))
}

/// Returns a note that names the added tokens with options that llama.cpp ignores (`lstrip`, `rstrip`, `single_word`);
/// empty if there are none.
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
        "llama.cpp does not strip white space around the tokens `{}`, nor require them to be whole words",
        names.join("`, `")
    )]
}

/// Reads the `tokenizer_config.json` beside a tokenizer; null if there is none.
fn settings(path: &Path) -> Result<serde_json::Value, ModelError> {
    if !polymath_input::is_file(path)? {
        return Ok(serde_json::Value::Null);
    }
    Ok(polymath_input::read_json(path)?)
}

/// Returns true if text begins with `bos`, according to the settings or the tokenizer itself. If neither tells: with
/// a chat template it does not, because the template writes the beginning; otherwise it does, as every document did
/// in training.
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

/// Returns the special tokens that the settings contain, each as a string or as an object with `content`.
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
