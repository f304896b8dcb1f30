//! Reading and writing of GPT-2's `config.json`.

use serde_json::{Value, json};

use crate::config::default_rope_theta;
use crate::fields::Fields;
use crate::hugging_face::{SpecialTokens, TokenIds};
use crate::{Family, ModelConfig, ModelError, sizes};

/// Two names of the same activation function, the tanh approximation of GELU.
const ACTIVATIONS: [&str; 2] = ["gelu_new", "gelu_pytorch_tanh"];

/// Returns the content of `config.json` for a GPT-2.
pub(crate) fn to_json(config: &ModelConfig) -> Value {
    json!({
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "vocab_size": config.vocab_size,
        "n_positions": config.max_position_embeddings,
        // Older name of `n_positions`, which some converters require.
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

/// Llama's names of sizes that `transformers` also accepts for GPT-2.
const ALIASES: [(&str, &str); 4] = [
    ("hidden_size", "n_embd"),
    ("max_position_embeddings", "n_positions"),
    ("num_attention_heads", "n_head"),
    ("num_hidden_layers", "n_layer"),
];

/// Reads a GPT-2's `config.json`. Dropout is ignored, since training here uses none.
pub(crate) fn read(fields: &Fields) -> Result<ModelConfig, ModelError> {
    refuse_aliases(fields)?;
    refuse_other_computations(fields)?;
    let size = |key: &str, ours: &str| -> Result<usize, ModelError> {
        let size = fields.required_size(key)?;
        check_size(fields, key, ours, size)
    };
    let width = size("n_embd", "hidden_size")?;
    let heads = size("n_head", "num_attention_heads")?;
    if !width.is_multiple_of(heads) {
        return Err(ModelError::content(
            fields.path(),
            format!("`n_head` = {heads} does not divide `n_embd` = {width}"),
        ));
    }
    let inner = fields.size("n_inner")?.unwrap_or(4 * width);
    let tokens = SpecialTokens::read(fields)?;
    Ok(ModelConfig {
        family: Family::Gpt2,
        qk_norm: false,
        vocab_size: size("vocab_size", "vocab_size")?,
        hidden_size: width,
        intermediate_size: check_size(fields, "n_inner", "intermediate_size", inner)?,
        num_hidden_layers: size("n_layer", "num_hidden_layers")?,
        num_attention_heads: heads,
        num_key_value_heads: heads,
        head_dim: width / heads,
        max_position_embeddings: size("n_positions", "max_position_embeddings")?,
        rope_theta: default_rope_theta(),
        rope_scaling: None,
        attention_bias: true,
        sliding_window: None,
        rms_norm_eps: fields.real("layer_norm_epsilon")?.unwrap_or(1e-5),
        tie_word_embeddings: fields.flag("tie_word_embeddings")?.unwrap_or(true),
        initializer_range: fields.real("initializer_range")?.unwrap_or(0.02),
        bos_token_id: tokens.bos,
        eos_token_id: tokens.eos,
        other_eos_token_ids: tokens.other_eos,
    })
}

fn check_size(fields: &Fields, key: &str, ours: &str, size: usize) -> Result<usize, ModelError> {
    sizes::check_size(ours, key, size)
        .map_err(|error| ModelError::content(fields.path(), error.to_string()))?;
    Ok(size)
}

/// Fails if two keys for the same size have different values. `n_ctx` is the older name of `n_positions`.
fn refuse_aliases(fields: &Fields) -> Result<(), ModelError> {
    let pairs = ALIASES.into_iter().chain([("n_ctx", "n_positions")]);
    for (alias, key) in pairs {
        let stated = fields.size(alias)?;
        if stated.is_some() && stated != fields.size(key)? {
            return fields.refuse(alias, &format!("the value of `{key}`, or none"));
        }
    }
    Ok(())
}

fn refuse_other_computations(fields: &Fields) -> Result<(), ModelError> {
    let activation = fields.text("activation_function")?;
    if activation.is_some_and(|name| !ACTIVATIONS.contains(&name)) {
        let known = format!("`{}`", ACTIVATIONS.join("` or `"));
        return fields.refuse("activation_function", &known);
    }
    for (key, only) in [
        ("scale_attn_weights", true),
        ("scale_attn_by_inverse_layer_idx", false),
        ("reorder_and_upcast_attn", false),
        ("add_cross_attention", false),
    ] {
        if fields.flag(key)?.is_some_and(|set| set != only) {
            return fields.refuse(key, &only.to_string());
        }
    }
    Ok(())
}
