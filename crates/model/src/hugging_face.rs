//! Reading and writing of Hugging Face's `config.json`.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::config_keys::check_rest;
use crate::fields::Fields;
use crate::{Family, ModelConfig, ModelError, Rope, SlidingWindow, gpt2, sizes, sliding_window};

impl ModelConfig {
    /// Returns the text of `config.json`.
    pub fn to_json(&self) -> String {
        let value = match self.family {
            Family::Llama => self.llama_json(),
            Family::Gpt2 => gpt2::to_json(self),
        };
        format!("{value:#}\n")
    }

    fn llama_json(&self) -> serde_json::Value {
        let (architecture, model_type) = match (self.qk_norm, self.attention_bias) {
            (true, _) => ("Qwen3ForCausalLM", "qwen3"),
            (false, true) => ("Qwen2ForCausalLM", "qwen2"),
            (false, false) if self.sliding_window.is_some() => ("MistralForCausalLM", "mistral"),
            (false, false) => ("LlamaForCausalLM", "llama"),
        };
        let mut value = serde_json::json!({
            "architectures": [architecture],
            "model_type": model_type,
            "vocab_size": self.vocab_size,
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "num_hidden_layers": self.num_hidden_layers,
            "num_attention_heads": self.num_attention_heads,
            "num_key_value_heads": self.num_key_value_heads,
            "head_dim": self.head_dim,
            "hidden_act": "silu",
            "max_position_embeddings": self.max_position_embeddings,
            "initializer_range": self.initializer_range,
            "rms_norm_eps": self.rms_norm_eps,
            "rope_theta": self.rope_theta,
            "rope_scaling": self.rope_scaling,
            "attention_bias": false,
            "attention_dropout": 0.0,
            "mlp_bias": false,
            "tie_word_embeddings": self.tie_word_embeddings,
            "bos_token_id": self.bos_token_id,
            "eos_token_id": TokenIds::ends(self),
            "torch_dtype": "float32",
            "use_cache": true,
        });
        if let Some(window) = &self.sliding_window {
            window.write(model_type, &mut value);
        }
        value
    }

    /// Parses the text of a `config.json`; `path` is used in errors only.
    ///
    /// # Errors
    /// Fails if a field is missing, out of range, or requires an unsupported computation.
    pub fn from_json(path: &Path, text: &str) -> Result<Self, ModelError> {
        Ok(read_json(path, text)?.0)
    }
}

/// Returns the configuration in a `config.json`, and its unknown keys as `key` = value.
pub(crate) fn read_json(path: &Path, text: &str) -> Result<(ModelConfig, Vec<String>), ModelError> {
    let fields = Fields::parse(path, text)?;
    // The family is checked first, because its name is a better error than the keys that files of other families
    // lack.
    let config = match fields.text("model_type")? {
        Some("gpt2") => gpt2::read(&fields)?,
        Some(name) => match Kind::named(name) {
            Some(kind) => read(&fields, kind)?,
            None => return fields.refuse("model_type", KNOWN),
        },
        None => return fields.refuse("model_type", KNOWN),
    };
    config
        .validate()
        .map_err(|error| ModelError::content(path, error.to_string()))?;
    let unknown = check_rest(&fields, config.family == Family::Gpt2)?;
    Ok((config, unknown))
}

const KNOWN: &str = "`llama`, `mistral`, `qwen2`, `qwen3` or `gpt2`";

/// Model type of the Llama family (such as `qwen2`), with the defaults of `transformers` for missing keys.
pub(crate) struct Kind {
    pub name: &'static str,
    qk_norm: bool,
    /// True if queries, keys and values have biases.
    qkv_bias: bool,
    /// Default number of key/value heads; `None`: the number of query heads.
    key_value_heads: Option<usize>,
    /// Default width of a head; `None`: `hidden_size / num_attention_heads`.
    head_dim: Option<usize>,
}

impl Kind {
    fn named(name: &str) -> Option<Self> {
        let kind = |name, qk_norm, qkv_bias| Self {
            name,
            qk_norm,
            qkv_bias,
            key_value_heads: None,
            head_dim: None,
        };
        match name {
            "llama" => Some(kind("llama", false, false)),
            "mistral" => Some(Self {
                key_value_heads: Some(8),
                ..kind("mistral", false, false)
            }),
            "qwen2" => Some(Self {
                key_value_heads: Some(32),
                ..kind("qwen2", false, true)
            }),
            "qwen3" => Some(Self {
                key_value_heads: Some(32),
                head_dim: Some(128),
                ..kind("qwen3", true, false)
            }),
            _ => None,
        }
    }
}

/// Reads the configuration of a model of the Llama family.
fn read(fields: &Fields, kind: Kind) -> Result<ModelConfig, ModelError> {
    let size = |key: &str| required_size(fields, key);
    let hidden_size = size("hidden_size")?;
    let num_attention_heads = size("num_attention_heads")?;
    let num_hidden_layers = size("num_hidden_layers")?;
    let max_position_embeddings = size("max_position_embeddings")?;
    let num_key_value_heads = match fields.size("num_key_value_heads")? {
        Some(heads) => heads,
        // Null means the number of query heads. A missing key means the family's default.
        None if fields.stated("num_key_value_heads").is_some() => num_attention_heads,
        None => kind.key_value_heads.unwrap_or(num_attention_heads),
    };
    let activation = fields.text("hidden_act")?;
    if activation.is_some_and(|name| !["silu", "swish"].contains(&name)) {
        return fields.refuse("hidden_act", "`silu`");
    }
    let Some(rms_norm_eps) = fields.real("rms_norm_eps")? else {
        return fields.refuse("rms_norm_eps", "a number above 0");
    };
    let Rope { theta, scaling } = Rope::read(fields)?;
    let tokens = SpecialTokens::read(fields)?;
    Ok(ModelConfig {
        family: Family::Llama,
        qk_norm: kind.qk_norm,
        vocab_size: size("vocab_size")?,
        hidden_size,
        intermediate_size: size("intermediate_size")?,
        num_hidden_layers,
        num_attention_heads,
        num_key_value_heads,
        head_dim: fields
            .size("head_dim")?
            .or(kind.head_dim)
            .unwrap_or(hidden_size / num_attention_heads),
        max_position_embeddings,
        rope_theta: theta,
        rope_scaling: scaling,
        attention_bias: kind.qkv_bias,
        sliding_window: SlidingWindow::read(
            fields,
            &sliding_window::ModelFacts {
                model_type: kind.name,
                layers: num_hidden_layers,
                context: max_position_embeddings,
            },
        )?,
        rms_norm_eps,
        tie_word_embeddings: fields.flag("tie_word_embeddings")?.unwrap_or(false),
        initializer_range: fields.real("initializer_range")?.unwrap_or(0.02),
        bos_token_id: tokens.bos,
        eos_token_id: tokens.eos,
        other_eos_token_ids: tokens.other_eos,
    })
}

/// Reads a required size and checks its limit, since later code multiplies it.
pub(crate) fn required_size(fields: &Fields, key: &str) -> Result<usize, ModelError> {
    let size = fields.required_size(key)?;
    let checked = sizes::check_size(key, key, size);
    checked.map_err(|error| ModelError::content(fields.path(), error.to_string()))?;
    Ok(size)
}

/// A token ID or a list of token IDs.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum TokenIds {
    One(u32),
    Many(Vec<u32>),
}

impl TokenIds {
    /// Returns a model's end tokens in the form that `config.json` has for them.
    pub fn ends(config: &ModelConfig) -> Self {
        match &config.other_eos_token_ids[..] {
            [] => Self::One(config.eos_token_id),
            others => Self::Many([&[config.eos_token_id], others].concat()),
        }
    }

    pub fn all(&self) -> &[u32] {
        match self {
            Self::One(id) => std::slice::from_ref(id),
            Self::Many(ids) => ids,
        }
    }

    /// Reads the IDs under a key; empty if it is absent, null or an empty list.
    fn read(fields: &Fields, key: &str) -> Result<Vec<u32>, ModelError> {
        let Some(value) = fields.get(key) else {
            return Ok(Vec::new());
        };
        let ids = Self::deserialize(value).map(|ids| ids.all().to_vec());
        match ids {
            Ok(ids) => Ok(ids),
            Err(_) => fields.refuse(
                key,
                "the id of a token of the vocabulary, or a list of them",
            ),
        }
    }
}

/// Begin and end tokens of documents.
pub(crate) struct SpecialTokens {
    pub bos: u32,
    pub eos: u32,
    pub other_eos: Vec<u32>,
}

impl SpecialTokens {
    /// Reads `bos_token_id` and `eos_token_id`. If there are several end tokens, documents end with the first one. If
    /// there is no begin token, the end token comes before each document.
    pub fn read(fields: &Fields) -> Result<Self, ModelError> {
        let ends = TokenIds::read(fields, "eos_token_id")?;
        let Some((&eos, others)) = ends.split_first() else {
            return fields.refuse(
                "eos_token_id",
                "a token id: every document ends with it. `tokenizer_config.json` names the token, `tokenizer.json` its id",
            );
        };
        let mut other_eos: Vec<u32> = Vec::new();
        for other in others {
            if *other != eos && !other_eos.contains(other) {
                other_eos.push(*other);
            }
        }
        let begins = TokenIds::read(fields, "bos_token_id")?;
        Ok(Self {
            bos: begins.first().copied().unwrap_or(eos),
            eos,
            other_eos,
        })
    }
}

/// Reads the end tokens of a `generation_config.json`. Negative IDs are ignored.
pub(crate) fn generation_ends(path: &Path, text: &str) -> Result<Vec<u32>, ModelError> {
    let fields = Fields::parse(path, text)?;
    let ids = match fields.get("eos_token_id") {
        None => return Ok(Vec::new()),
        Some(Value::Array(ids)) => ids.clone(),
        Some(id) => vec![id.clone()],
    };
    let mut ends = Vec::new();
    for id in ids {
        match id.as_i64().map(u32::try_from) {
            Some(Ok(id)) => ends.push(id),
            Some(Err(_)) if id.as_i64() < Some(0) => {}
            _ => return fields.refuse("eos_token_id", "the id of a token, or a list of them"),
        }
    }
    Ok(ends)
}
