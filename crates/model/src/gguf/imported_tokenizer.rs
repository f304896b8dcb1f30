//! Conversion of GGUF keys to a `tokenizer.json` and a `tokenizer_config.json`.

use serde_json::{Map, Value, json};
use tokenizers::Tokenizer;

use super::metadata::Metadata;
use super::scheme::Scheme;
use super::vocabulary::{
    CONTROL, NAMED, NORMAL, OTHER_ENDS, UNKNOWN, UNUSED, USER_DEFINED, filler,
};
use crate::{EndTokens, ModelError};

/// Tokenizer read from a GGUF file.
pub(super) struct ImportedTokenizer {
    /// Text of `tokenizer.json`.
    pub tokenizer: String,
    /// Text of `tokenizer_config.json`.
    pub settings: String,
    /// Number of tokens, including fillers.
    pub vocab_size: usize,
    pub bos_token_id: u32,
    pub eos_token_id: u32,
    pub other_eos_token_ids: Vec<u32>,
}

impl ImportedTokenizer {
    /// Reads the tokenizer from the keys of a file.
    ///
    /// # Errors
    /// Fails if the kind of tokenizer is not supported, or if the keys contradict each other.
    pub fn of(metadata: &Metadata) -> Result<Self, ModelError> {
        let tokens = Tokens::read(metadata)?;
        let scheme = Scheme::read(metadata, &tokens)?;
        let eos_key = "tokenizer.ggml.eos_token_id";
        let eos = metadata.required(eos_key, tokens.id(metadata, eos_key)?)?;
        let bos = tokens
            .id(metadata, "tokenizer.ggml.bos_token_id")?
            .unwrap_or(eos);
        let mut others = Vec::new();
        for key in OTHER_ENDS {
            others.extend(tokens.id(metadata, key)?.filter(|other| *other != eos));
        }
        let begins = metadata.flag("tokenizer.ggml.add_bos_token")?;
        let begins = begins.or(scheme.begins());
        let mut json = scheme.to_json(tokens.vocabulary().into());
        json["version"] = "1.0".into();
        json["added_tokens"] = tokens.added().into();
        if begins == Some(true) {
            json["post_processor"] = begin(tokens.names[bos as usize], bos);
        }
        let ends = EndTokens {
            begin: bos,
            end: eos,
        };
        Ok(Self {
            tokenizer: checked(metadata, json, &tokens)?,
            settings: settings(metadata, &tokens, ends, begins)?,
            vocab_size: tokens.names.len(),
            bos_token_id: bos,
            eos_token_id: eos,
            other_eos_token_ids: others,
        })
    }
}

/// Names and token kinds of the whole vocabulary, by ID.
pub(super) struct Tokens<'a> {
    pub names: Vec<&'a str>,
    pub kinds: Vec<i64>,
}

impl<'a> Tokens<'a> {
    fn read(metadata: &Metadata<'a>) -> Result<Self, ModelError> {
        let key = "tokenizer.ggml.tokens";
        let names = metadata.required(key, metadata.texts(key)?)?;
        let key = "tokenizer.ggml.token_type";
        let kinds = metadata
            .numbers(key)?
            .unwrap_or_else(|| vec![NORMAL.into(); names.len()]);
        if kinds.len() != names.len() {
            return Err(metadata.content(format!(
                "`{key}` has {} numbers for {} tokens: expected one each",
                kinds.len(),
                names.len()
            )));
        }
        Ok(Self { names, kinds })
    }

    /// Reads the ID of a special token.
    fn id(&self, metadata: &Metadata, key: &str) -> Result<Option<u32>, ModelError> {
        match metadata.number(key)? {
            Some(id) if id as usize >= self.names.len() => Err(metadata.content(format!(
                "`{key}` is {id}, but there are {} tokens",
                self.names.len()
            ))),
            other => Ok(other),
        }
    }

    /// Returns the IDs by name, without filler tokens.
    fn vocabulary(&self) -> Map<String, Value> {
        let all = self.names.iter().zip(&self.kinds).enumerate();
        all.filter(|(id, (name, kind))| **kind != i64::from(UNUSED) || **name != filler(*id))
            .map(|(id, (name, _))| ((*name).to_owned(), id.into()))
            .collect()
    }

    /// Returns the tokens that are matched literally in text: special and user-defined ones.
    fn added(&self) -> Vec<Value> {
        let all = self.names.iter().zip(&self.kinds).enumerate();
        let is_added = |kind: i64| {
            [CONTROL, USER_DEFINED, UNKNOWN]
                .map(i64::from)
                .contains(&kind)
        };
        all.filter(|(_, (_, kind))| is_added(**kind))
            .map(|(id, (name, kind))| {
                json!({
                    "id": id, "content": name, "single_word": false, "lstrip": false, "rstrip": false,
                    "normalized": false, "special": *kind != i64::from(USER_DEFINED),
                })
            })
            .collect()
    }
}

/// Returns a post-processor that adds the token `bos` before a text.
fn begin(name: &str, bos: u32) -> Value {
    let special = json!({"SpecialToken": {"id": name, "type_id": 0}});
    let text = |id: &str, part: u32| json!({"Sequence": {"id": id, "type_id": part}});
    json!({
        "type": "TemplateProcessing",
        "single": [special, text("A", 0)],
        "pair": [special, text("A", 0), text("B", 1)],
        "special_tokens": {name: {"id": name, "ids": [bos], "tokens": [name]}},
    })
}

/// Returns the text of `tokenizer.json`, after checking that the tokenizer library loads it and that every token has
/// a unique ID.
fn checked(metadata: &Metadata, json: Value, tokens: &Tokens) -> Result<String, ModelError> {
    let refuse = |message: String| metadata.content(format!("its tokenizer is broken: {message}"));
    let tokenizer: Tokenizer =
        serde_json::from_value(json).map_err(|error| refuse(error.to_string()))?;
    for (id, name) in tokens.names.iter().enumerate() {
        let filled = tokens.kinds[id] == i64::from(UNUSED) && **name == *filler(id);
        let found = tokenizer.token_to_id(name);
        if !filled && found != Some(id as u32) {
            return Err(refuse(match found {
                Some(other) => format!("the token `{name}` has the ids {id} and {other}"),
                None => format!("the token `{name}` of id {id} can't be read"),
            }));
        }
    }
    let text = tokenizer.to_string(true);
    text.map_err(|error| refuse(error.to_string()))
}

fn settings(
    metadata: &Metadata,
    tokens: &Tokens,
    ends: EndTokens,
    begins: Option<bool>,
) -> Result<String, ModelError> {
    let mut settings = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": tokens.names[ends.begin as usize],
        "eos_token": tokens.names[ends.end as usize],
        "model_max_length": metadata.size("context_length")?,
        "clean_up_tokenization_spaces": false,
    });
    if let Some(begins) = begins {
        settings["add_bos_token"] = begins.into();
    }
    for (key, theirs) in NAMED {
        if let Some(id) = tokens.id(metadata, theirs)? {
            settings[key] = tokens.names[id as usize].into();
        }
    }
    if let Some(template) = metadata.text("tokenizer.chat_template")? {
        settings["chat_template"] = template.into();
    }
    Ok(format!("{settings:#}\n"))
}
