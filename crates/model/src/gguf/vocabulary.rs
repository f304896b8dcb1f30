//! A `tokenizer.json` as keys of a GGUF.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use candle_core::quantized::gguf_file::Value;
use tokenizers::Tokenizer;

use super::pre_tokenizer::PreTokenizer;
use crate::{ModelConfig, ModelError};

/// llama.cpp's kinds of tokens.
pub(super) const NORMAL: i32 = 1;
/// Never read from text unless asked for.
pub(super) const CONTROL: i32 = 3;
/// Always read from text as it stands.
pub(super) const USER_DEFINED: i32 = 4;
pub(super) const UNUSED: i32 = 5;
/// `none` or `nfc`: what is done to text before all else. Ours, since llama.cpp knows no such thing.
pub(super) const NORMALIZER: &str = "polymath.tokenizer.normalizer";
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

/// A byte-level BPE as llama.cpp has it.
pub(super) struct Vocabulary {
    tokens: Vec<String>,
    kinds: Vec<i32>,
    merges: Vec<String>,
    pre: &'static str,
    composes: bool,
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
        let tokenizer = Tokenizer::from_file(path).map_err(|error| refuse(error.to_string()))?;
        let json = serde_json::to_value(&tokenizer).map_err(|error| refuse(error.to_string()))?;
        let model = &json["model"];
        check_model(model).map_err(&refuse)?;
        let composes = composes(&json["normalizer"]).map_err(&refuse)?;
        let ignore_merges = model["ignore_merges"] == true;
        let pre = PreTokenizer::of(&json["pre_tokenizer"], ignore_merges).ok_or_else(|| {
            refuse(format!(
                "llama.cpp has no pre-tokenizer that cuts text as this does, and other tokens would be worse than no \
                 file: `pre_tokenizer` = {} with `ignore_merges` = {ignore_merges}",
                json["pre_tokenizer"]
            ))
        })?;
        let merges = merges(&model["merges"]).map_err(&refuse)?;
        let (tokens, kinds) = tokens(&tokenizer, config.vocab_size).map_err(&refuse)?;
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
        if composes {
            notes.push(
                "this tokenizer composes characters (NFC) first, which llama.cpp does not: there, text that is not \
                 composed gets other tokens"
                    .into(),
            );
        }
        Ok(Self {
            tokens,
            kinds,
            merges,
            pre: pre.name(),
            composes,
            begins: begins(&tokenizer, &settings, config.bos_token_id, template),
            named: named(&tokenizer, &settings),
            template: template.map(str::to_owned),
            notes,
        })
    }

    /// The keys for a model of `config`.
    pub fn keys(self, config: &ModelConfig) -> Vec<(String, Value)> {
        let text = |text: &str| Value::String(text.to_owned());
        let texts =
            |texts: Vec<String>| Value::Array(texts.into_iter().map(Value::String).collect());
        let kinds = self.kinds.into_iter().map(Value::I32).collect();
        let mut keys = vec![
            ("tokenizer.ggml.model", text("gpt2")),
            ("tokenizer.ggml.pre", text(self.pre)),
            ("tokenizer.ggml.tokens", texts(self.tokens)),
            ("tokenizer.ggml.token_type", Value::Array(kinds)),
            ("tokenizer.ggml.merges", texts(self.merges)),
            (
                "tokenizer.ggml.bos_token_id",
                Value::U32(config.bos_token_id),
            ),
            (
                "tokenizer.ggml.eos_token_id",
                Value::U32(config.eos_token_id),
            ),
            ("tokenizer.ggml.add_bos_token", Value::Bool(self.begins)),
            (NORMALIZER, text(if self.composes { "nfc" } else { "none" })),
        ];
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

/// Only a plain byte-level BPE is the same in llama.cpp.
fn check_model(model: &serde_json::Value) -> Result<(), String> {
    if model["type"] != "BPE" || model["byte_fallback"] == true {
        let kind = if model["type"] == "BPE" {
            "a BPE over pieces"
        } else {
            model["type"].as_str().unwrap_or("of no type")
        };
        return Err(format!(
            "the tokenizer is {kind}: expected a byte-level BPE, as of GPT-2, Llama 3, SmolLM2, Qwen or `polymath prepare`"
        ));
    }
    for key in ["dropout", "continuing_subword_prefix", "end_of_word_suffix"] {
        let value = &model[key];
        if !(value.is_null() || *value == "" || value.as_f64() == Some(0.0)) {
            return Err(format!(
                "`{key}` is {value}: expected a plain byte-level BPE"
            ));
        }
    }
    Ok(())
}

/// Whether text is composed (NFC) before all else.
fn composes(normalizer: &serde_json::Value) -> Result<bool, String> {
    let alone = match normalizer["normalizers"].as_array().map(Vec::as_slice) {
        Some([]) => &serde_json::Value::Null,
        Some([one]) => one,
        _ => normalizer,
    };
    match alone {
        serde_json::Value::Null => Ok(false),
        nfc if nfc["type"] == "NFC" => Ok(true),
        other => Err(format!(
            "llama.cpp does not change text before it is cut, but this tokenizer does: `normalizer` = {other}"
        )),
    }
}

/// Each pair as its parts with a space between, which no part of a byte-level BPE has.
fn merges(pairs: &serde_json::Value) -> Result<Vec<String>, String> {
    let pairs = pairs.as_array().map_or(&[][..], Vec::as_slice);
    if pairs.is_empty() {
        return Err("the tokenizer has no merges, which llama.cpp asks for".into());
    }
    let joined = pairs.iter().map(|pair| {
        let (left, right) = (pair[0].as_str()?, pair[1].as_str()?);
        let plain = !left.contains(' ') && !right.contains(' ');
        plain.then(|| format!("{left} {right}"))
    });
    joined
        .collect::<Option<_>>()
        .ok_or_else(|| "a merge has a space in it: expected a byte-level BPE".into())
}

/// Every id's token and its kind; ids without one get a name that no text has.
fn tokens(tokenizer: &Tokenizer, size: usize) -> Result<(Vec<String>, Vec<i32>), String> {
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
    let kind = |id: u32| match added.get(&id) {
        Some(token) if token.special => CONTROL,
        Some(_) => USER_DEFINED,
        None => NORMAL,
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
        tokens.push(token);
        kinds.push(found.map_or(UNUSED, |_| kind(id as u32)));
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
    if !path.is_file() {
        return Ok(serde_json::Value::Null);
    }
    let text = std::fs::read_to_string(path).map_err(ModelError::file("read", path))?;
    serde_json::from_str(&text).map_err(|error| ModelError::content(path, error.to_string()))
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
