//! How a tokenizer makes tokens of text: the two ways that both programs have.

use candle_core::quantized::gguf_file::Value;
use serde_json::Value as Json;

use super::byte_level::ByteLevel;
use super::metadata::Metadata;
use super::pieces::{Pieces, is_byte};
use super::rebuilt::Tokens;
use super::vocabulary::{BYTE, UNKNOWN};
use crate::ModelError;

const MODEL: &str = "tokenizer.ggml.model";

pub(super) enum Scheme {
    ByteLevel(ByteLevel),
    Pieces(Pieces),
}

impl Scheme {
    /// Of a `tokenizer.json`.
    ///
    /// # Errors
    /// One that llama.cpp does not have.
    pub fn of(tokenizer: &Json) -> Result<Self, String> {
        let model = &tokenizer["model"];
        if model["type"] != "BPE" {
            return Err(format!(
                "the tokenizer is {}: expected a BPE, byte-level as of GPT-2, Llama 3, SmolLM2, Qwen or `polymath prepare`, \
                 or over pieces as of Llama 2",
                model["type"].as_str().unwrap_or("of no type")
            ));
        }
        for key in ["dropout", "continuing_subword_prefix", "end_of_word_suffix"] {
            let value = &model[key];
            if !(value.is_null() || *value == "" || value.as_f64() == Some(0.0)) {
                return Err(format!("`{key}` is {value}: expected a plain BPE"));
            }
        }
        Ok(match model["byte_fallback"] == true {
            true => Self::Pieces(Pieces::of(tokenizer)?),
            false => Self::ByteLevel(ByteLevel::of(tokenizer)?),
        })
    }

    /// Of a GGUF.
    ///
    /// # Errors
    /// Another kind of tokenizer, or one that is not whole.
    pub fn read(metadata: &Metadata, tokens: &Tokens) -> Result<Self, ModelError> {
        match metadata.required(MODEL, metadata.text(MODEL)?)? {
            ByteLevel::NAME => Ok(Self::ByteLevel(ByteLevel::read(metadata)?)),
            Pieces::NAME => Ok(Self::Pieces(Pieces::read(metadata, tokens)?)),
            other => Err(metadata.content(format!(
                "`{MODEL}` is `{other}`: expected `{}`, a byte-level BPE, or `{}`, one over pieces, since no other kind is \
                 rebuilt here",
                ByteLevel::NAME,
                Pieces::NAME
            ))),
        }
    }

    /// The kind that llama.cpp has for a token of this scheme alone.
    pub fn kind(&self, token: &str) -> Option<i32> {
        let Self::Pieces(pieces) = self else {
            return None;
        };
        if pieces.is_unknown(token) {
            return Some(UNKNOWN);
        }
        is_byte(token).then_some(BYTE)
    }

    /// Its keys in a GGUF with these tokens.
    pub fn keys(self, tokens: &[String]) -> Vec<(&'static str, Value)> {
        let (name, mut keys) = match self {
            Self::ByteLevel(bytes) => (ByteLevel::NAME, bytes.keys()),
            Self::Pieces(pieces) => (Pieces::NAME, pieces.keys(tokens)),
        };
        keys.push((MODEL, Value::String(name.into())));
        keys
    }

    /// What a user should know of it.
    pub fn note(&self) -> Option<String> {
        match self {
            Self::ByteLevel(bytes) => bytes.note(),
            Self::Pieces(pieces) => pieces.note(),
        }
    }

    /// Whether text begins with a special token, where a GGUF does not say it; `None` where nothing does.
    pub fn begins(&self) -> Option<bool> {
        match self {
            Self::ByteLevel(bytes) => bytes.begins(),
            Self::Pieces(_) => Some(true),
        }
    }

    /// `normalizer`, `pre_tokenizer`, `decoder` and `model` of a `tokenizer.json`.
    pub fn to_json(&self, vocabulary: Json) -> Json {
        match self {
            Self::ByteLevel(bytes) => bytes.to_json(vocabulary),
            Self::Pieces(pieces) => pieces.to_json(vocabulary),
        }
    }
}
