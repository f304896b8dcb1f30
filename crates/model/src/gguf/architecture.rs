//! What llama.cpp calls a family of models.

use crate::{ModelConfig, ModelError};

/// A family that both programs compute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Architecture {
    Llama,
    Qwen2,
    Qwen3,
    Gpt2,
}

/// For sentences.
pub(super) const KNOWN: &str = "`llama`, `qwen2`, `qwen3` or `gpt2`";

impl Architecture {
    /// The one that computes what `config` says.
    ///
    /// # Errors
    /// A family without one, or a shape that llama.cpp does not compute.
    pub fn of(config: &ModelConfig) -> Result<Self, ModelError> {
        // The family stands in `config.json` alone, so that there is one place that decides it.
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

    /// By `general.architecture`, which is Hugging Face's `model_type` too.
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

    /// The key of a setting of this architecture.
    pub fn key(self, setting: &str) -> String {
        format!("{}.{setting}", self.name())
    }

    /// The key of what norms add to a variance.
    pub fn epsilon(self) -> &'static str {
        match self {
            Self::Gpt2 => "attention.layer_norm_epsilon",
            _ => "attention.layer_norm_rms_epsilon",
        }
    }

    /// Whether positions are turned by, not added.
    pub fn is_rotary(self) -> bool {
        self != Self::Gpt2
    }

    /// Whether rotary positions turn neighbouring numbers of a head, as in the first Llama's own files; elsewhere, as
    /// everywhere in Hugging Face's files, number i turns with number i + half.
    pub fn turns_neighbours(self) -> bool {
        self == Self::Llama
    }
}
