//! Tokenizer schemes that both this program and llama.cpp support: byte-level BPE and SentencePiece-style BPE.

use candle_core::quantized::gguf_file::Value;
use serde_json::Value as Json;

use super::byte_level::ByteLevel;
use super::imported_tokenizer::Tokens;
use super::metadata::Metadata;
use super::pieces::{Pieces, is_byte};
use super::vocabulary::{BYTE, UNKNOWN};
use crate::ModelError;

const MODEL: &str = "tokenizer.ggml.model";

pub(super) enum Scheme {
    ByteLevel(ByteLevel),
    Pieces(Pieces),
}

impl Scheme {
    /// Reads the tokenizer from a `tokenizer.json`.
    ///
    /// # Errors
    /// Fails if llama.cpp does not support the tokenizer.
    pub fn of(tokenizer: &Json) -> Result<Self, String> {
        let model = &tokenizer["model"];
        if model["type"] != "BPE" {
            return Err(format!(
                "the tokenizer is {}: expected a BPE, byte-level as in GPT-2, Llama 3, SmolLM2, Qwen or `polymath \
                 prepare`, or SentencePiece as in Llama 2",
                model["type"].as_str().unwrap_or("without a type")
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

    /// Reads the tokenizer from a GGUF file.
    ///
    /// # Errors
    /// Fails if the kind of tokenizer is not supported, or if it is incomplete.
    pub fn read(metadata: &Metadata, tokens: &Tokens) -> Result<Self, ModelError> {
        match metadata.required(MODEL, metadata.text(MODEL)?)? {
            ByteLevel::NAME => Ok(Self::ByteLevel(ByteLevel::read(metadata)?)),
            Pieces::NAME => Ok(Self::Pieces(Pieces::read(metadata, tokens)?)),
            other => Err(metadata.content(format!(
                "`{MODEL}` is `{other}`: expected `{}`, a byte-level BPE, or `{}`, a SentencePiece BPE; no other kind \
                 is supported",
                ByteLevel::NAME,
                Pieces::NAME
            ))),
        }
    }

    /// Returns llama.cpp's kind of a token whose kind follows from the scheme: the unknown token and byte tokens of
    /// SentencePiece; `None` for any other token.
    pub fn kind(&self, token: &str) -> Option<i32> {
        let Self::Pieces(pieces) = self else {
            return None;
        };
        if pieces.is_unknown(token) {
            return Some(UNKNOWN);
        }
        is_byte(token).then_some(BYTE)
    }

    /// Returns the keys of the tokenizer in a GGUF file with these tokens.
    pub fn keys(self, tokens: &[String]) -> Vec<(&'static str, Value)> {
        let (name, mut keys) = match self {
            Self::ByteLevel(bytes) => (ByteLevel::NAME, bytes.keys()),
            Self::Pieces(pieces) => (Pieces::NAME, pieces.keys(tokens)),
        };
        keys.push((MODEL, Value::String(name.into())));
        keys
    }

    /// Describes the differences between this tokenizer and llama.cpp's for the user, if any.
    pub fn note(&self) -> Option<String> {
        match self {
            Self::ByteLevel(bytes) => bytes.note(),
            Self::Pieces(pieces) => pieces.note(),
        }
    }

    /// Returns true if text begins with the begin token, for a GGUF file that does not tell; `None` if that is
    /// unknown.
    pub fn begins(&self) -> Option<bool> {
        match self {
            Self::ByteLevel(bytes) => bytes.begins(),
            Self::Pieces(_) => Some(true),
        }
    }

    /// Returns `normalizer`, `pre_tokenizer`, `decoder` and `model` of a `tokenizer.json`.
    pub fn to_json(&self, vocabulary: Json) -> Json {
        match self {
            Self::ByteLevel(bytes) => bytes.to_json(vocabulary),
            Self::Pieces(pieces) => pieces.to_json(vocabulary),
        }
    }
}
