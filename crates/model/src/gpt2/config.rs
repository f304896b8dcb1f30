//! GPT-2's `config.json`, written and read.

use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::config::default_rope_theta;
use crate::hugging_face::{TokenIds, ends, unsupported};
use crate::{Family, ModelConfig, ModelError};

/// What an activation may be called: two names of one function.
const ACTIVATIONS: [&str; 2] = ["gelu_new", "gelu_pytorch_tanh"];

/// The content of `config.json`.
pub(crate) fn to_json(config: &ModelConfig) -> Value {
    json!({
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "vocab_size": config.vocab_size,
        "n_positions": config.max_position_embeddings,
        // Its older name, which some converters still ask for.
        "n_ctx": config.max_position_embeddings,
        "n_embd": config.hidden_size,
        "n_layer": config.num_hidden_layers,
        "n_head": config.num_attention_heads,
        "n_inner": config.intermediate_size,
        "activation_function": ACTIVATIONS[0],
        "layer_norm_epsilon": config.rms_norm_eps,
        "initializer_range": config.initializer_range,
        "embd_pdrop": 0.0,
        "attn_pdrop": 0.0,
        "resid_pdrop": 0.0,
        "scale_attn_weights": true,
        "scale_attn_by_inverse_layer_idx": false,
        "reorder_and_upcast_attn": false,
        "tie_word_embeddings": config.tie_word_embeddings,
        "bos_token_id": config.bos_token_id,
        "eos_token_id": TokenIds::ends(config),
        "torch_dtype": "float32",
        "use_cache": true,
    })
}

/// Reads the text of a GPT-2's `config.json`.
pub(crate) fn from_json(path: &Path, text: &str) -> Result<ModelConfig, ModelError> {
    let fields: Gpt2Config =
        serde_json::from_str(text).map_err(|error| ModelError::content(path, error.to_string()))?;
    fields.resolve(path)
}

/// What is read of it. Dropout is not: training here drops nothing.
#[derive(Deserialize)]
struct Gpt2Config {
    vocab_size: usize,
    n_positions: usize,
    n_embd: usize,
    n_layer: usize,
    n_head: usize,
    n_inner: Option<usize>,
    activation_function: Option<String>,
    layer_norm_epsilon: Option<f64>,
    initializer_range: Option<f64>,
    scale_attn_weights: Option<bool>,
    scale_attn_by_inverse_layer_idx: Option<bool>,
    reorder_and_upcast_attn: Option<bool>,
    add_cross_attention: Option<bool>,
    tie_word_embeddings: Option<bool>,
    bos_token_id: Option<TokenIds>,
    eos_token_id: Option<TokenIds>,
}

impl Gpt2Config {
    fn resolve(&self, path: &Path) -> Result<ModelConfig, ModelError> {
        let sizes = [
            ("n_positions", self.n_positions),
            ("n_embd", self.n_embd),
            ("n_layer", self.n_layer),
            ("n_head", self.n_head),
            ("n_inner", self.n_inner.unwrap_or(1)),
        ];
        if let Some((field, _)) = sizes.iter().find(|(_, size)| *size == 0) {
            return unsupported(path, field, "0".into(), "at least 1");
        }
        if !self.n_embd.is_multiple_of(self.n_head) {
            return Err(ModelError::content(
                path,
                format!(
                    "`n_head` = {} does not divide `n_embd` = {}",
                    self.n_head, self.n_embd
                ),
            ));
        }
        let activation = self.activation_function.as_deref();
        if let Some(other) = activation.filter(|name| !ACTIVATIONS.contains(name)) {
            let known = format!("`{}`", ACTIVATIONS.join("` or `"));
            return unsupported(path, "activation_function", format!("`{other}`"), &known);
        }
        for (field, set, only) in [
            ("scale_attn_weights", self.scale_attn_weights, true),
            (
                "scale_attn_by_inverse_layer_idx",
                self.scale_attn_by_inverse_layer_idx,
                false,
            ),
            (
                "reorder_and_upcast_attn",
                self.reorder_and_upcast_attn,
                false,
            ),
            ("add_cross_attention", self.add_cross_attention, false),
        ] {
            if let Some(other) = set.filter(|set| *set != only) {
                return unsupported(path, field, other.to_string(), &only.to_string());
            }
        }
        let (eos_token_id, other_eos_token_ids) = ends(path, self.eos_token_id.as_ref())?;
        let begins = self.bos_token_id.as_ref();
        Ok(ModelConfig {
            family: Family::Gpt2,
            qk_norm: false,
            vocab_size: self.vocab_size,
            hidden_size: self.n_embd,
            intermediate_size: self.n_inner.unwrap_or(4 * self.n_embd),
            num_hidden_layers: self.n_layer,
            num_attention_heads: self.n_head,
            num_key_value_heads: self.n_head,
            head_dim: self.n_embd / self.n_head,
            max_position_embeddings: self.n_positions,
            rope_theta: default_rope_theta(),
            rope_scaling: None,
            attention_bias: true,
            sliding_window: None,
            rms_norm_eps: self.layer_norm_epsilon.unwrap_or(1e-5),
            tie_word_embeddings: self.tie_word_embeddings.unwrap_or(true),
            initializer_range: self.initializer_range.unwrap_or(0.02),
            bos_token_id: begins.and_then(TokenIds::first).unwrap_or(eos_token_id),
            eos_token_id,
            other_eos_token_ids,
        })
    }
}
