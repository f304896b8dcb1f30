//! llama.cpp's names of model architectures.

use crate::{ModelConfig, ModelError};

/// Model architecture that both this program and llama.cpp support.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Architecture {
    Llama,
    Qwen2,
    Qwen3,
    Gpt2,
}

/// List of the architectures for error messages.
pub(super) const KNOWN: &str = "`llama`, `qwen2`, `qwen3` or `gpt2`";

impl Architecture {
    /// Returns the architecture that computes `config`.
    ///
    /// # Errors
    /// Fails for a family or a shape that llama.cpp does not support.
    pub fn of(config: &ModelConfig) -> Result<Self, ModelError> {
        // Only `config.json` names the family, so it is taken from there.
        let json: serde_json::Value = serde_json::from_str(&config.to_json()).unwrap_or_default();
        let family = json["model_type"].as_str().unwrap_or_default();
        let architecture = Self::named(family).ok_or_else(|| {
            ModelError::Architecture(format!(
                "a model of the family `{family}` can't be written as GGUF: expected {KNOWN}"
            ))
        })?;
        if config.sliding_window.is_some() {
            return Err(ModelError::Architecture(
                "a model with a `sliding_window` can't be written as GGUF: llama.cpp would show every token the whole \
                 context"
                    .into(),
            ));
        }
        let width = config.num_attention_heads * config.head_dim;
        if architecture == Self::Qwen2 && width != config.hidden_size {
            return Err(ModelError::Architecture(format!(
                "llama.cpp computes a `qwen2` only where its heads are as wide as the model: `num_attention_heads` · \
                 `head_dim` = {width}, `hidden_size` = {}",
                config.hidden_size
            )));
        }
        Ok(architecture)
    }

    /// Returns the architecture with this `general.architecture`, which equals Hugging Face's `model_type`.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Llama, Self::Qwen2, Self::Qwen3, Self::Gpt2]
            .into_iter()
            .find(|known| known.name() == name)
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
            Self::Gpt2 => "gpt2",
        }
    }

    /// Returns the GGUF key of a setting of this architecture.
    pub fn key(self, setting: &str) -> String {
        format!("{}.{setting}", self.name())
    }

    /// Returns the key of the ε of the normalization layers.
    pub fn epsilon(self) -> &'static str {
        match self {
            Self::Gpt2 => "attention.layer_norm_epsilon",
            _ => "attention.layer_norm_rms_epsilon",
        }
    }

    /// Returns true if positions are rotary, false if they are learned.
    pub fn is_rotary(self) -> bool {
        self != Self::Gpt2
    }

    /// Returns true if rotary embeddings rotate pairs of adjacent components of a head, as in the original Llama
    /// files. Otherwise component i pairs with component i + width/2, as in all Hugging Face files.
    pub fn rotates_adjacent_pairs(self) -> bool {
        self == Self::Llama
    }
}
