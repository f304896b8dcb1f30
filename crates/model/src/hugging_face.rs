//! A model's shape as Hugging Face's `config.json`, written and read.

use std::path::Path;

use serde::Deserialize;

use crate::config::default_rope_theta;
use crate::{ModelConfig, ModelError};

impl ModelConfig {
    /// The text of `config.json`.
    pub fn to_json(&self) -> String {
        let (architecture, model_type) = if self.qk_norm {
            ("Qwen3ForCausalLM", "qwen3")
        } else {
            ("LlamaForCausalLM", "llama")
        };
        let value = serde_json::json!({
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
            "rope_scaling": null,
            "attention_bias": false,
            "attention_dropout": 0.0,
            "mlp_bias": false,
            "tie_word_embeddings": self.tie_word_embeddings,
            "bos_token_id": self.bos_token_id,
            "eos_token_id": self.eos_token_id,
            "torch_dtype": "float32",
            "use_cache": true,
        });
        format!("{value:#}\n")
    }

    /// Reads the text of a `config.json`; `path` is only named in errors.
    ///
    /// # Errors
    /// A field that is missing, or that asks for something this program does not compute.
    pub fn from_json(path: &Path, text: &str) -> Result<Self, ModelError> {
        let fields: HuggingFaceConfig = serde_json::from_str(text)
            .map_err(|error| ModelError::content(path, error.to_string()))?;
        let config = fields.resolve(path)?;
        config
            .validate()
            .map_err(|error| ModelError::content(path, error.to_string()))?;
        Ok(config)
    }
}

/// One token, or a list whose first counts.
#[derive(Deserialize)]
#[serde(untagged)]
enum TokenIds {
    One(u32),
    Many(Vec<u32>),
}

impl TokenIds {
    fn first(&self) -> Option<u32> {
        match self {
            Self::One(id) => Some(*id),
            Self::Many(ids) => ids.first().copied(),
        }
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
    #[serde(default)]
    use_sliding_window: bool,
    #[serde(default)]
    tie_word_embeddings: bool,
    bos_token_id: Option<TokenIds>,
    eos_token_id: Option<TokenIds>,
}

impl HuggingFaceConfig {
    fn resolve(&self, path: &Path) -> Result<ModelConfig, ModelError> {
        let unsupported = |field: &str, value: String, expected: &str| {
            Err(ModelError::content(
                path,
                format!("`{field}` = {value} is not supported: expected {expected}"),
            ))
        };
        let qk_norm = match self.model_type.as_str() {
            "llama" => false,
            "qwen3" => true,
            other => return unsupported("model_type", format!("`{other}`"), "`llama` or `qwen3`"),
        };
        if let Some(scaling) = self.rope_scaling.as_ref().filter(|value| !value.is_null()) {
            return unsupported("rope_scaling", scaling.to_string(), "null");
        }
        let rope_type = self
            .rope_parameters
            .as_ref()
            .and_then(|parameters| parameters.get("rope_type"));
        if let Some(kind) = rope_type.filter(|kind| *kind != "default") {
            return unsupported("rope_parameters.rope_type", kind.to_string(), "`default`");
        }
        if let Some(activation) = self.hidden_act.as_ref().filter(|name| *name != "silu") {
            return unsupported("hidden_act", format!("`{activation}`"), "`silu`");
        }
        for (field, set) in [
            ("attention_bias", self.attention_bias),
            ("mlp_bias", self.mlp_bias),
            ("use_sliding_window", self.use_sliding_window),
        ] {
            if set {
                return unsupported(field, "true".into(), "false");
            }
        }
        let eos_token_id = self.eos_token_id.as_ref().and_then(TokenIds::first);
        let Some(eos_token_id) = eos_token_id else {
            return unsupported("eos_token_id", "null".into(), "a token id");
        };
        let in_parameters = self
            .rope_parameters
            .as_ref()
            .and_then(|parameters| parameters.get("rope_theta")?.as_f64());
        Ok(ModelConfig {
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
            rms_norm_eps: self.rms_norm_eps,
            tie_word_embeddings: self.tie_word_embeddings,
            initializer_range: self.initializer_range.unwrap_or(0.02),
            bos_token_id: self
                .bos_token_id
                .as_ref()
                .and_then(TokenIds::first)
                .unwrap_or(eos_token_id),
            eos_token_id,
        })
    }
}
