//! A model's shape as Hugging Face's `config.json`, written and read.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::config::default_rope_theta;
use crate::{Family, ModelConfig, ModelError, RopeScaling, SlidingWindow, gpt2, sliding_window};

impl ModelConfig {
    /// The text of `config.json`.
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

    /// Reads the text of a `config.json`; `path` is only named in errors.
    ///
    /// # Errors
    /// A field that is missing, or that asks for something this program does not compute.
    pub fn from_json(path: &Path, text: &str) -> Result<Self, ModelError> {
        let broken = |error: serde_json::Error| ModelError::content(path, error.to_string());
        let Kind { model_type } = serde_json::from_str(text).map_err(broken)?;
        let config = match model_type.as_str() {
            "gpt2" => gpt2::from_json(path, text)?,
            _ => {
                let fields: HuggingFaceConfig = serde_json::from_str(text).map_err(broken)?;
                fields.resolve(path)?
            }
        };
        config
            .validate()
            .map_err(|error| ModelError::content(path, error.to_string()))?;
        Ok(config)
    }
}

/// What decides how the rest is read.
#[derive(Deserialize)]
struct Kind {
    model_type: String,
}

/// The refusal of a value that this program does not compute.
pub(crate) fn unsupported<T>(
    path: &Path,
    field: &str,
    value: String,
    expected: &str,
) -> Result<T, ModelError> {
    Err(ModelError::content(
        path,
        format!("`{field}` = {value} is not supported: expected {expected}"),
    ))
}

/// One token, or a list.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum TokenIds {
    One(u32),
    Many(Vec<u32>),
}

impl TokenIds {
    /// What ends a text of this model.
    pub fn ends(config: &ModelConfig) -> Self {
        match &config.other_eos_token_ids[..] {
            [] => Self::One(config.eos_token_id),
            others => Self::Many([&[config.eos_token_id], others].concat()),
        }
    }

    pub fn first(&self) -> Option<u32> {
        self.all().first().copied()
    }

    pub fn all(&self) -> &[u32] {
        match self {
            Self::One(id) => std::slice::from_ref(id),
            Self::Many(ids) => ids,
        }
    }
}

/// The first of some ids, which documents end with, and the others.
pub(crate) fn ends(path: &Path, ids: Option<&TokenIds>) -> Result<(u32, Vec<u32>), ModelError> {
    match ids.map(TokenIds::all) {
        Some([first, others @ ..]) => {
            let mut new: Vec<u32> = Vec::new();
            for other in others {
                if other != first && !new.contains(other) {
                    new.push(*other);
                }
            }
            Ok((*first, new))
        }
        _ => unsupported(path, "eos_token_id", "null".into(), "a token id"),
    }
}

/// What is read of a `config.json`, as other programs write it.
#[derive(Deserialize)]
struct HuggingFaceConfig {
    model_type: String,
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    max_position_embeddings: usize,
    initializer_range: Option<f64>,
    rms_norm_eps: f64,
    rope_theta: Option<f64>,
    rope_scaling: Option<serde_json::Value>,
    rope_parameters: Option<serde_json::Value>,
    hidden_act: Option<String>,
    #[serde(default)]
    attention_bias: bool,
    #[serde(default)]
    mlp_bias: bool,
    use_sliding_window: Option<bool>,
    #[serde(default = "default_window")]
    sliding_window: Option<usize>,
    max_window_layers: Option<usize>,
    layer_types: Option<Vec<String>>,
    #[serde(default)]
    tie_word_embeddings: bool,
    bos_token_id: Option<TokenIds>,
    eos_token_id: Option<TokenIds>,
}

/// Null is no window, but none at all is `transformers`' own.
fn default_window() -> Option<usize> {
    Some(sliding_window::DEFAULT_SIZE)
}

impl HuggingFaceConfig {
    fn resolve(&self, path: &Path) -> Result<ModelConfig, ModelError> {
        let unsupported =
            |field: &str, value: String, expected: &str| unsupported(path, field, value, expected);
        let (qk_norm, qkv_bias) = match self.model_type.as_str() {
            "llama" | "mistral" => (false, false),
            "qwen2" => (false, true),
            "qwen3" => (true, false),
            other => {
                let known = "`llama`, `mistral`, `qwen2`, `qwen3` or `gpt2`";
                return unsupported("model_type", format!("`{other}`"), known);
            }
        };
        let rope_scaling = self.scaling(path)?;
        let sliding_window = SlidingWindow::read(
            path,
            &sliding_window::Fields {
                model_type: &self.model_type,
                sliding_window: self.sliding_window,
                use_sliding_window: self.use_sliding_window,
                max_window_layers: self.max_window_layers,
                layer_types: self.layer_types.as_deref(),
                num_hidden_layers: self.num_hidden_layers,
            },
        )?;
        if let Some(activation) = self.hidden_act.as_ref().filter(|name| *name != "silu") {
            return unsupported("hidden_act", format!("`{activation}`"), "`silu`");
        }
        for (field, set) in [
            ("attention_bias", self.attention_bias),
            ("mlp_bias", self.mlp_bias),
        ] {
            if set {
                return unsupported(field, "true".into(), "false");
            }
        }
        let (eos_token_id, other_eos_token_ids) = ends(path, self.eos_token_id.as_ref())?;
        let in_parameters = self
            .rope_parameters
            .as_ref()
            .and_then(|parameters| parameters.get("rope_theta")?.as_f64());
        Ok(ModelConfig {
            family: Family::Llama,
            qk_norm,
            vocab_size: self.vocab_size,
            hidden_size: self.hidden_size,
            intermediate_size: self.intermediate_size,
            num_hidden_layers: self.num_hidden_layers,
            num_attention_heads: self.num_attention_heads,
            num_key_value_heads: self.num_key_value_heads.unwrap_or(self.num_attention_heads),
            head_dim: self
                .head_dim
                .unwrap_or(self.hidden_size / self.num_attention_heads.max(1)),
            max_position_embeddings: self.max_position_embeddings,
            rope_theta: self
                .rope_theta
                .or(in_parameters)
                .unwrap_or_else(default_rope_theta),
            rope_scaling,
            attention_bias: qkv_bias,
            sliding_window,
            rms_norm_eps: self.rms_norm_eps,
            tie_word_embeddings: self.tie_word_embeddings,
            initializer_range: self.initializer_range.unwrap_or(0.02),
            bos_token_id: self
                .bos_token_id
                .as_ref()
                .and_then(TokenIds::first)
                .unwrap_or(eos_token_id),
            eos_token_id,
            other_eos_token_ids,
        })
    }

    /// How the rotary frequencies are stretched, under either of the names that it has had.
    fn scaling(&self, path: &Path) -> Result<Option<RopeScaling>, ModelError> {
        let fields = [
            ("rope_scaling", &self.rope_scaling),
            ("rope_parameters", &self.rope_parameters),
        ];
        for (field, value) in fields {
            let Some(value) = value.as_ref().filter(|value| !value.is_null()) else {
                continue;
            };
            // Older files call it `type`.
            let kind = value.get("rope_type").or(value.get("type"));
            if kind.is_none_or(|kind| kind == "default") {
                continue;
            }
            let mut known = value.clone();
            known["rope_type"] = kind.cloned().unwrap_or_default();
            // Whatever is wrong with it, the sentence below shows it whole and says what is expected.
            let scaling = serde_json::from_value::<RopeScaling>(known).ok();
            return scaling.filter(|scaling| scaling.is_valid()).map(Some).ok_or_else(|| {
                ModelError::content(
                    path,
                    format!(
                        "`{field}` = {value} is not supported: expected null, or the `rope_type` `default`, `linear` or \
                         `llama3` with its numbers"
                    ),
                )
            });
        }
        Ok(None)
    }
}
