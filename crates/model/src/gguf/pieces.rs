//! SentencePiece-style BPE tokenizers with byte fallback, such as those of Llama 2 and of the first Mistral. Spaces
//! are written as `▁`, and a word includes the space before it.
//!
//! For these tokenizers, llama.cpp has no list of merges. It joins any two adjacent pieces whose joined text is a
//! token, highest score first. This is equivalent to a list of merges that is complete and ordered by score.

use std::collections::{BTreeMap, HashMap, HashSet};

use candle_core::quantized::gguf_file::Value;
use serde_json::{Map, Value as Json, json};

use super::imported_tokenizer::Tokens;
use super::metadata::Metadata;
use super::vocabulary::{NORMAL, UNKNOWN};
use crate::ModelError;

const SCORES: &str = "tokenizer.ggml.scores";
const SPACE_IN_FRONT: &str = "tokenizer.ggml.add_space_prefix";
/// Character that stands for a space.
const SPACE: &str = "▁";

/// Content of a SentencePiece-style tokenizer, apart from its tokens.
pub(super) struct Pieces {
    /// Merges in the order of a `tokenizer.json`.
    merges: Vec<[String; 2]>,
    /// True if a space is added before a text.
    begins_with_space: bool,
    /// True if the space is added only at the very beginning of a text, not after special tokens.
    only_at_first: bool,
    unknown: Option<String>,
}

impl Pieces {
    /// Name of this kind of tokenizer in llama.cpp's key `tokenizer.ggml.model`.
    pub const NAME: &str = "llama";

    /// Reads the tokenizer from a `tokenizer.json`.
    ///
    /// # Errors
    /// Fails if llama.cpp would produce other tokens.
    pub fn of(tokenizer: &Json) -> Result<Self, String> {
        let model = &tokenizer["model"];
        if model["ignore_merges"] == true {
            return Err(
                "`ignore_merges` is true: llama.cpp does not support it in a SentencePiece tokenizer".into(),
            );
        }
        let vocabulary = model["vocab"].as_object().cloned().unwrap_or_default();
        if let Some(missing) = (0..=u8::MAX)
            .map(byte)
            .find(|byte| !vocabulary.contains_key(byte))
        {
            return Err(format!(
                "the tokenizer has no token `{missing}`: expected one for each byte, for text without a piece"
            ));
        }
        let (begins_with_space, only_at_first) = spaces(tokenizer).ok_or_else(|| {
            format!(
                "llama.cpp replaces each space by `{SPACE}`, puts one before a text, and changes nothing else: \
                 `normalizer` = {}, \
                 `pre_tokenizer` = {}",
                tokenizer["normalizer"], tokenizer["pre_tokenizer"]
            )
        })?;
        let pieces = Self {
            merges: merges(&model["merges"])?,
            begins_with_space,
            only_at_first,
            unknown: model["unk_token"].as_str().map(str::to_owned),
        };
        pieces.check_order()?;
        pieces.check_complete(&vocabulary, &tokenizer["added_tokens"])?;
        Ok(pieces)
    }

    /// Reads the tokenizer from a GGUF file. Its merges are all ways to split a piece into two pieces, highest score
    /// first.
    ///
    /// # Errors
    /// Fails if a token has no score.
    pub fn read(metadata: &Metadata, tokens: &Tokens) -> Result<Self, ModelError> {
        let scores = metadata.required(SCORES, metadata.reals(SCORES)?)?;
        if scores.len() != tokens.names.len() {
            return Err(metadata.content(format!(
                "`{SCORES}` has {} numbers for {} tokens: expected one each",
                scores.len(),
                tokens.names.len()
            )));
        }
        let is_piece = |id: &usize| tokens.kinds[*id] == i64::from(NORMAL);
        let places = (0..tokens.names.len()).filter(is_piece);
        let places: HashMap<&str, usize> = places.map(|id| (tokens.names[id], id)).collect();
        let mut joined: Vec<(usize, usize, usize)> = Vec::new();
        for (piece, id) in &places {
            for (left, right) in splits(piece) {
                if let (Some(left), Some(right)) = (places.get(left), places.get(right)) {
                    joined.push((*id, *left, *right));
                }
            }
        }
        joined.sort_by(|a, b| scores[b.0].total_cmp(&scores[a.0]).then(a.cmp(b)));
        let name = |id: usize| tokens.names[id].to_owned();
        let unknown = tokens
            .kinds
            .iter()
            .position(|kind| *kind == i64::from(UNKNOWN));
        Ok(Self {
            merges: joined
                .into_iter()
                .map(|(_, left, right)| [name(left), name(right)])
                .collect(),
            begins_with_space: metadata.flag(SPACE_IN_FRONT)?.unwrap_or(true),
            only_at_first: false,
            unknown: unknown.map(name),
        })
    }

    /// Returns the keys of the tokenizer in a GGUF file with these tokens.
    pub fn keys(self, tokens: &[String]) -> Vec<(&'static str, Value)> {
        let mut scores: HashMap<String, f32> = HashMap::new();
        for [left, right] in &self.merges {
            let next = -(scores.len() as f32);
            scores.entry(format!("{left}{right}")).or_insert(next);
        }
        let score = |token: &String| Value::F32(scores.get(token).copied().unwrap_or_default());
        vec![
            ("tokenizer.ggml.pre", Value::String("default".into())),
            (SCORES, Value::Array(tokens.iter().map(score).collect())),
            (SPACE_IN_FRONT, Value::Bool(self.begins_with_space)),
        ]
    }

    /// Describes the differences between this tokenizer and llama.cpp's, if any.
    pub fn note(&self) -> Option<String> {
        self.only_at_first.then(|| {
            "this tokenizer puts a space before a text, but none after a special token, where llama.cpp puts one too".into()
        })
    }

    pub fn is_unknown(&self, token: &str) -> bool {
        self.unknown.as_deref() == Some(token)
    }

    /// Returns the tokenizer's part of a `tokenizer.json`.
    pub fn to_json(&self, vocabulary: Json) -> Json {
        let spaces = json!({"type": "Replace", "pattern": {"String": " "}, "content": SPACE});
        let mut decoders = vec![
            json!({"type": "Replace", "pattern": {"String": SPACE}, "content": " "}),
            json!({"type": "ByteFallback"}),
            json!({"type": "Fuse"}),
        ];
        let mut normalizers = vec![spaces];
        if self.begins_with_space {
            normalizers.insert(0, json!({"type": "Prepend", "prepend": SPACE}));
            decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
        }
        json!({
            "normalizer": {"type": "Sequence", "normalizers": normalizers},
            "pre_tokenizer": null,
            "decoder": {"type": "Sequence", "decoders": decoders},
            "model": {
                "type": "BPE", "dropout": null, "unk_token": self.unknown, "continuing_subword_prefix": null,
                "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true, "ignore_merges": false,
                "vocab": vocabulary,
                "merges": self.merges,
            },
        })
    }

    /// Checks the order of merges. In llama.cpp a token has a single score, so all merges that produce one token must
    /// come before or after all merges that produce another.
    fn check_order(&self) -> Result<(), String> {
        let mut ranks: BTreeMap<String, (usize, usize)> = BTreeMap::new();
        for (rank, [left, right]) in self.merges.iter().enumerate() {
            let made = ranks
                .entry(format!("{left}{right}"))
                .or_insert((rank, rank));
            made.1 = rank;
        }
        let mut ranks: Vec<_> = ranks.into_iter().collect();
        ranks.sort_by_key(|(_, (first, _))| *first);
        match ranks.windows(2).find(|pair| pair[0].1.1 > pair[1].1.0) {
            None => Ok(()),
            Some(pair) => Err(format!(
                "llama.cpp has one score for a token, but the merges that make `{}` come both before and after those of \
                 `{}`",
                pair[0].0, pair[1].0
            )),
        }
    }

    fn check_complete(&self, vocabulary: &Map<String, Json>, added: &Json) -> Result<(), String> {
        let added = added.as_array().map_or(&[][..], Vec::as_slice);
        let added: HashSet<&str> = added
            .iter()
            .filter_map(|token| token["content"].as_str())
            .collect();
        let is_piece = |text: &str| vocabulary.contains_key(text) && !added.contains(text);
        let known: HashSet<(&str, &str)> = self
            .merges
            .iter()
            .map(|[left, right]| (&left[..], &right[..]))
            .collect();
        for piece in vocabulary.keys().filter(|piece| is_piece(piece)) {
            let mut parts = splits(piece).filter(|(left, right)| is_piece(left) && is_piece(right));
            if let Some((left, right)) = parts.find(|pair| !known.contains(pair)) {
                return Err(format!(
                    "llama.cpp joins any two adjacent pieces whose joined text is a token, but this tokenizer never \
                     joins `{left}` and \
                     `{right}`: expected all merges that SentencePiece would do"
                ));
            }
        }
        Ok(())
    }
}

/// Returns the name of the token for a byte.
fn byte(value: u8) -> String {
    format!("<0x{value:02X}>")
}

/// Returns true if a token stands for a byte.
pub(super) fn is_byte(token: &str) -> bool {
    let digits = token
        .strip_prefix("<0x")
        .and_then(|rest| rest.strip_suffix('>'));
    digits.is_some_and(|digits| {
        u8::from_str_radix(digits, 16).is_ok_and(|value| byte(value) == token)
    })
}

/// Returns every way to split a text into two parts.
fn splits(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.char_indices().skip(1).map(|(at, _)| text.split_at(at))
}

fn merges(pairs: &Json) -> Result<Vec<[String; 2]>, String> {
    serde_json::from_value(pairs.clone())
        .map_err(|error| format!("its merges are not pairs: {error}"))
}

/// Returns whether a space is added before a text, and whether none is added after a special token; `None` for a
/// normalization that llama.cpp does not have.
fn spaces(tokenizer: &Json) -> Option<(bool, bool)> {
    let (normalizer, cut) = (&tokenizer["normalizer"], &tokenizer["pre_tokenizer"]);
    if normalizer.is_null() {
        let plain =
            cut["type"] == "Metaspace" && cut["replacement"] == SPACE && cut["split"] == false;
        return match cut["prepend_scheme"].as_str().filter(|_| plain)? {
            "always" => Some((true, false)),
            "first" => Some((true, true)),
            "never" => Some((false, false)),
            _ => None,
        };
    }
    let steps = match normalizer["normalizers"].as_array() {
        Some(steps) => &steps[..],
        None => std::slice::from_ref(normalizer),
    };
    let replaces = |step: &Json| {
        step["type"] == "Replace" && step["pattern"]["String"] == " " && step["content"] == SPACE
    };
    let puts = |step: &Json| step["type"] == "Prepend" && step["prepend"] == SPACE;
    match steps {
        [last] if replaces(last) && cut.is_null() => Some((false, false)),
        [first, last] if puts(first) && replaces(last) && cut.is_null() => Some((true, false)),
        _ => None,
    }
}
