//! A byte-level BPE: text is cut into words, their bytes are joined merge by merge.

use candle_core::quantized::gguf_file::Value;
use serde_json::{Value as Json, json};

use super::metadata::Metadata;
use super::pre_tokenizer::PreTokenizer;
use crate::ModelError;

/// `none` or `nfc`: what is done to text before all else. Ours, since llama.cpp knows no such thing.
const NORMALIZER: &str = "polymath.tokenizer.normalizer";
const PRE_TOKENIZER: &str = "tokenizer.ggml.pre";
const MERGES: &str = "tokenizer.ggml.merges";

/// What a byte-level tokenizer has beside its tokens.
pub(super) struct ByteLevel {
    /// Each pair as its parts with a space between, which no part has.
    merges: Vec<String>,
    pre: &'static PreTokenizer,
    composes: bool,
}

impl ByteLevel {
    /// llama.cpp's `tokenizer.ggml.model`.
    pub const NAME: &str = "gpt2";

    /// Of a `tokenizer.json`.
    ///
    /// # Errors
    /// One that llama.cpp would cut text otherwise for.
    pub fn of(tokenizer: &Json) -> Result<Self, String> {
        let model = &tokenizer["model"];
        let composes = composes(&tokenizer["normalizer"])?;
        let ignore_merges = model["ignore_merges"] == true;
        let pre = PreTokenizer::of(&tokenizer["pre_tokenizer"], ignore_merges).ok_or_else(|| {
            format!(
                "llama.cpp has no pre-tokenizer that cuts text as this does, and other tokens would be worse than no \
                 file: `pre_tokenizer` = {} with `ignore_merges` = {ignore_merges}",
                tokenizer["pre_tokenizer"]
            )
        })?;
        Ok(Self {
            merges: merges(&model["merges"])?,
            pre,
            composes,
        })
    }

    /// Of a GGUF.
    ///
    /// # Errors
    /// A way of cutting text that is not known; merges that are missing or none.
    pub fn read(metadata: &Metadata) -> Result<Self, ModelError> {
        let name = metadata.required(PRE_TOKENIZER, metadata.text(PRE_TOKENIZER)?)?;
        let pre = PreTokenizer::named(name).ok_or_else(|| {
            metadata.content(format!(
                "`{PRE_TOKENIZER}` is `{name}`, which is not known here: expected one of {}",
                PreTokenizer::all_names()
            ))
        })?;
        let merges = metadata.required(MERGES, metadata.texts(MERGES)?)?;
        if !merges.iter().all(|merge| merge.contains(' ')) {
            return Err(metadata.content(format!("`{MERGES}` has one that is no pair")));
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

    /// Its keys in a GGUF.
    pub fn keys(self) -> Vec<(&'static str, Value)> {
        let text = |text: &str| Value::String(text.to_owned());
        let merges = self.merges.into_iter().map(Value::String).collect();
        vec![
            (PRE_TOKENIZER, text(self.pre.name())),
            (MERGES, Value::Array(merges)),
            (NORMALIZER, text(if self.composes { "nfc" } else { "none" })),
        ]
    }

    /// What llama.cpp does otherwise.
    pub fn note(&self) -> Option<String> {
        self.composes.then(|| {
            "this tokenizer composes characters (NFC) first, which llama.cpp does not: there, text that is not composed \
             gets other tokens"
                .into()
        })
    }

    /// Whether text begins with a special token, where in llama.cpp the kind of tokenizer decides that.
    pub fn begins(&self) -> Option<bool> {
        self.pre.begins()
    }

    /// Its part of a `tokenizer.json`.
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

/// Whether text is composed (NFC) before all else.
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
            "llama.cpp does not change text before it is cut, but this tokenizer does: `normalizer` = {other}"
        )),
    }
}

fn merges(pairs: &Json) -> Result<Vec<String>, String> {
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
