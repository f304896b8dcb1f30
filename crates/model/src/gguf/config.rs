//! Conversion between a model configuration and GGUF keys.

use candle_core::quantized::gguf_file::Value;

use super::architecture::Architecture;
use super::metadata::Metadata;
use super::rotary;
use crate::config::default_rope_theta;
use crate::{Family, ModelConfig, ModelError};

/// Keys of an architecture that are read or have no effect: provenance, and parameters of options that are off.
const READ: &[&str] = &[
    "attention.causal",
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.layer_norm_epsilon",
    "attention.layer_norm_rms_epsilon",
    "attention.sliding_window",
    "attention.value_length",
    "block_count",
    "context_length",
    "embedding_length",
    "expert_used_count",
    "feed_forward_length",
    "pooling_type",
    "rope.dimension_count",
    "rope.freq_base",
    "rope.scale_linear",
    "rope.scaling.factor",
    "rope.scaling.finetuned",
    "rope.scaling.original_context_length",
    "rope.scaling.type",
    "tensor_data_layout",
    "vocab_size",
];

/// Returns the GGUF keys of a configuration.
pub(super) fn keys(architecture: Architecture, config: &ModelConfig) -> Vec<(String, Value)> {
    let sizes = [
        ("vocab_size", config.vocab_size),
        ("context_length", config.max_position_embeddings),
        ("embedding_length", config.hidden_size),
        ("block_count", config.num_hidden_layers),
        ("feed_forward_length", config.intermediate_size),
        ("attention.head_count", config.num_attention_heads),
        ("attention.head_count_kv", config.num_key_value_heads),
        ("attention.key_length", config.head_dim),
        ("attention.value_length", config.head_dim),
    ];
    let size = |size: usize| Value::U32(size as u32);
    let real = |real: f64| Value::F32(real as f32);
    let mut own = Vec::from(sizes.map(|(key, of)| (key, size(of))));
    own.push((architecture.epsilon(), real(config.rms_norm_eps)));
    if architecture.is_rotary() {
        own.push(("rope.dimension_count", size(config.head_dim)));
        own.push(("rope.freq_base", real(config.rope_theta)));
    }
    let mut keys: Vec<(String, Value)> = own
        .into_iter()
        .map(|(key, value)| (architecture.key(key), value))
        .collect();
    if let Some(scaling) = config.rope_scaling {
        keys.extend(rotary::keys(architecture, scaling));
    }
    keys
}

/// Properties of a GGUF file that are not under the keys of its architecture.
pub(super) struct OtherFacts {
    pub vocab_size: usize,
    pub tied: bool,
    pub bos_token_id: u32,
    pub eos_token_id: u32,
    pub other_eos_token_ids: Vec<u32>,
}

/// Reads the configuration from a file's keys, except for a rotary scaling that only a tensor states.
///
/// # Errors
/// Fails if a key is missing or requires an unsupported computation.
pub(super) fn read(metadata: &Metadata, facts: OtherFacts) -> Result<ModelConfig, ModelError> {
    refuse_unsupported(metadata)?;
    let hidden_size = metadata.size("embedding_length")?;
    let heads = metadata.size("attention.head_count")?;
    let natural = hidden_size / heads.max(1);
    let head_dim = metadata
        .number_of("attention.key_length")?
        .unwrap_or(natural);
    for setting in ["attention.value_length", "rope.dimension_count"] {
        let width = metadata.number_of(setting)?.unwrap_or(head_dim);
        if width != head_dim {
            let message = format!("is {width}: expected a head's whole width, {head_dim}");
            return Err(metadata.refuse(setting, message));
        }
    }
    let context = metadata.size("context_length")?;
    let window = metadata.number_of("attention.sliding_window")?;
    if let Some(window) = window.filter(|window| (1..context).contains(window)) {
        let message =
            format!("is {window}: expected at least the context of {context}, or none at all");
        return Err(metadata.refuse("attention.sliding_window", message));
    }
    let architecture = metadata.architecture;
    let epsilon = architecture.epsilon();
    let found = metadata.real_of(epsilon)?;
    let is_gpt2 = architecture == Architecture::Gpt2;
    let config = ModelConfig {
        family: if is_gpt2 { Family::Gpt2 } else { Family::Llama },
        qk_norm: architecture == Architecture::Qwen3,
        vocab_size: facts.vocab_size,
        hidden_size,
        intermediate_size: metadata.size("feed_forward_length")?,
        num_hidden_layers: metadata.size("block_count")?,
        num_attention_heads: heads,
        num_key_value_heads: metadata
            .number_of("attention.head_count_kv")?
            .unwrap_or(heads),
        head_dim,
        max_position_embeddings: context,
        rope_theta: metadata
            .real_of("rope.freq_base")?
            .unwrap_or_else(default_rope_theta),
        rope_scaling: rotary::from_keys(metadata)?,
        attention_bias: is_gpt2 || architecture == Architecture::Qwen2,
        sliding_window: None,
        rms_norm_eps: metadata.required(&architecture.key(epsilon), found)?,
        tie_word_embeddings: facts.tied,
        initializer_range: 0.02,
        bos_token_id: facts.bos_token_id,
        eos_token_id: facts.eos_token_id,
        other_eos_token_ids: facts.other_eos_token_ids,
    };
    for (setting, real) in [
        (epsilon, config.rms_norm_eps),
        ("rope.freq_base", config.rope_theta),
    ] {
        if !(real > 0.0 && real.is_finite()) {
            let message = format!("is {real}: expected a number above 0");
            return Err(metadata.refuse(setting, message));
        }
    }
    config
        .validate()
        .map_err(|error| metadata.content(error.to_string()))?;
    Ok(config)
}

/// Fails if a key of the architecture that was not read enables a feature. Values of 0 and false, and factors of 1, do
/// not.
fn refuse_unsupported(metadata: &Metadata) -> Result<(), ModelError> {
    let prefix = metadata.architecture.key("");
    // The keys are sorted, so that the same file always gives the same error.
    let mut settings: Vec<(&str, &Value)> = metadata
        .values
        .iter()
        .filter_map(|(key, value)| Some((key.strip_prefix(&prefix)?, value)))
        .collect();
    settings.sort_by_key(|(setting, _)| *setting);
    for (setting, value) in settings {
        let is_factor = setting.ends_with("scale") || setting.ends_with("_factor");
        let is_off = match value {
            Value::U8(0) | Value::U16(0) | Value::U32(0) | Value::U64(0) => true,
            Value::I8(0) | Value::I16(0) | Value::I32(0) | Value::I64(0) => true,
            Value::Bool(on) => !on,
            Value::F32(value) => *value == 0.0 || is_factor && *value == 1.0,
            Value::F64(value) => *value == 0.0 || is_factor && *value == 1.0,
            Value::Array(values) => values.is_empty(),
            _ => false,
        };
        if !is_off && !READ.contains(&setting) {
            return Err(metadata.refuse(setting, "is set, which is not supported"));
        }
    }
    let causal = metadata.flag(&metadata.architecture.key("attention.causal"))?;
    if causal == Some(false) {
        return Err(metadata.refuse("attention.causal", "is false: expected a decoder"));
    }
    Ok(())
}
