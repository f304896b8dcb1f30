//! Byte-level BPE tokenizers, which split text into words and merge the bytes of each word.

use candle_core::quantized::gguf_file::Value;
use serde_json::{Value as Json, json};

use super::metadata::Metadata;
use super::pre_tokenizer::PreTokenizer;
use crate::ModelError;

/// Key for the Unicode normalization of text: `none` or `nfc`. It is this program's own key, since llama.cpp has
/// none.
const NORMALIZER: &str = "polymath.tokenizer.normalizer";
const PRE_TOKENIZER: &str = "tokenizer.ggml.pre";
const MERGES: &str = "tokenizer.ggml.merges";

/// Content of a byte-level tokenizer, apart from its tokens.
pub(super) struct ByteLevel {
    /// Merges, each with a space between its two parts; no part contains a space.
    merges: Vec<String>,
    pre: &'static PreTokenizer,
    composes: bool,
}

impl ByteLevel {
    /// Name of this kind of tokenizer in llama.cpp's key `tokenizer.ggml.model`.
    pub const NAME: &str = "gpt2";

    /// Reads the tokenizer from a `tokenizer.json`.
    ///
    /// # Errors
    /// Fails if llama.cpp would split text differently.
    pub fn of(tokenizer: &Json) -> Result<Self, String> {
        let model = &tokenizer["model"];
        let composes = composes(&tokenizer["normalizer"])?;
        let ignore_merges = model["ignore_merges"] == true;
        let pre = PreTokenizer::of(&tokenizer["pre_tokenizer"], ignore_merges).ok_or_else(|| {
            format!(
                "llama.cpp has no pre-tokenizer that splits text as this one does, and wrong tokens would be worse \
                 than no file: `pre_tokenizer` = {} with `ignore_merges` = {ignore_merges}",
                tokenizer["pre_tokenizer"]
            )
        })?;
        Ok(Self {
            merges: merges(&model["merges"])?,
            pre,
            composes,
        })
    }

    /// Reads the tokenizer from a GGUF file.
    ///
    /// # Errors
    /// Fails if the pre-tokenizer is unknown or the merges are missing or empty.
    pub fn read(metadata: &Metadata) -> Result<Self, ModelError> {
        let name = metadata.required(PRE_TOKENIZER, metadata.text(PRE_TOKENIZER)?)?;
        let pre = PreTokenizer::named(name).ok_or_else(|| {
            metadata.content(format!(
                "`{PRE_TOKENIZER}` is `{name}`, which is unknown: expected one of {}",
                PreTokenizer::all_names()
            ))
        })?;
        let merges = metadata.required(MERGES, metadata.texts(MERGES)?)?;
        if !merges.iter().all(|merge| merge.contains(' ')) {
            return Err(metadata.content(format!("`{MERGES}` has a merge that is not a pair")));
        }
        let composes = match metadata.text(NORMALIZER)? {
            Some(normalizer) => normalizer == "nfc",
            None => pre.usually_composes(),
        };
        Ok(Self {
            merges: merges.into_iter().map(str::to_owned).collect(),
            pre,
            composes,
        })
    }

    /// Returns the keys of the tokenizer in a GGUF file.
    pub fn keys(self) -> Vec<(&'static str, Value)> {
        let text = |text: &str| Value::String(text.to_owned());
        let merges = self.merges.into_iter().map(Value::String).collect();
        vec![
            (PRE_TOKENIZER, text(self.pre.name())),
            (MERGES, Value::Array(merges)),
            (NORMALIZER, text(if self.composes { "nfc" } else { "none" })),
        ]
    }

    /// Describes the differences between this tokenizer and llama.cpp's, if any.
    pub fn note(&self) -> Option<String> {
        self.composes.then(|| {
            "this tokenizer normalizes text to composed characters (NFC), which llama.cpp does not: there, text with \
             decomposed characters gets other tokens"
                .into()
        })
    }

    /// Returns true if text begins with the begin token by default in llama.cpp; `None` if the pre-tokenizer does not
    /// tell.
    pub fn begins(&self) -> Option<bool> {
        self.pre.begins()
    }

    /// Returns the tokenizer's part of a `tokenizer.json`.
    pub fn to_json(&self, vocabulary: Json) -> Json {
        let pairs = self.merges.iter().filter_map(|merge| merge.split_once(' '));
        json!({
            "normalizer": if self.composes { json!({"type": "NFC"}) } else { Json::Null },
            "pre_tokenizer": self.pre.to_json(),
            "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
            "model": {
                "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
                "ignore_merges": self.pre.ignores_merges(),
                "vocab": vocabulary,
                "merges": pairs.collect::<Vec<_>>(),
            },
        })
    }
}

/// Returns true if text is normalized to composed characters (NFC).
fn composes(normalizer: &Json) -> Result<bool, String> {
    let alone = match normalizer["normalizers"].as_array().map(Vec::as_slice) {
        Some([]) => &Json::Null,
        Some([one]) => one,
        _ => normalizer,
    };
    match alone {
        Json::Null => Ok(false),
        nfc if nfc["type"] == "NFC" => Ok(true),
        other => Err(format!(
            "llama.cpp does not normalize text before it is split, but this tokenizer does: `normalizer` = {other}"
        )),
    }
}

fn merges(pairs: &Json) -> Result<Vec<String>, String> {
    let pairs = pairs.as_array().map_or(&[][..], Vec::as_slice);
    if pairs.is_empty() {
        return Err("the tokenizer has no merges, which llama.cpp requires".into());
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
