//! Keys of a `config.json` that are not read: those without effect, those that require an unsupported computation, and
//! unknown ones.

use serde_json::Value;

use crate::ModelError;
use crate::fields::{Fields, shown};

/// Keys that `transformers` uses for other purposes than the forward pass of these families: provenance, special
/// tokens, generation, dropout (not used in training here) and heads of other tasks.
const WITHOUT_EFFECT: &[&str] = &[
    "attention_dropout",
    "attn_implementation",
    "attn_pdrop",
    "bad_words_ids",
    "begin_suppress_tokens",
    "chunk_size_feed_forward",
    "cls_token_id",
    "decoder_start_token_id",
    "diversity_penalty",
    "do_sample",
    "dtype",
    "early_stopping",
    "embd_pdrop",
    "encoder_no_repeat_ngram_size",
    "exponential_decay_length_penalty",
    "finetuning_task",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "gradient_checkpointing",
    "id2label",
    "is_llama_config",
    "label2id",
    "length_penalty",
    "mask_token_id",
    "max_length",
    "min_length",
    "name_or_path",
    "no_repeat_ngram_size",
    "num_beam_groups",
    "num_beams",
    "num_labels",
    "num_return_sequences",
    "output_attentions",
    "output_hidden_states",
    "output_scores",
    "pad_token_id",
    "prefix",
    "pretraining_tp",
    "problem_type",
    "remove_invalid_values",
    "repetition_penalty",
    "resid_pdrop",
    "return_dict",
    "return_dict_in_generate",
    "sep_token_id",
    "suppress_tokens",
    "task_specific_params",
    "temperature",
    "tokenizer_class",
    "top_k",
    "top_p",
    "torch_dtype",
    "torchscript",
    "transformers_version",
    "typical_p",
    "unk_token_id",
    "use_cache",
];
/// Keys without effect in GPT-2: heads of its other tasks.
const WITHOUT_EFFECT_IN_GPT2: &[&str] = &[
    "summary_activation",
    "summary_first_dropout",
    "summary_proj_to_labels",
    "summary_type",
    "summary_use_proj",
];

/// Keys that change the computation in other implementations. They are refused unless they are turned off: null,
/// false, 0, an empty list or object.
const COMPUTED_ELSEWHERE: &[&str] = &[
    "add_bias",
    "add_cross_attention",
    "alibi",
    "attention_bias",
    "attention_chunk_size",
    "attention_k_eq_v",
    "attn_temperature_tuning",
    "bias",
    "block_sparse",
    "clip_qkv",
    "compression_config",
    "cross_attention_hidden_size",
    "cross_attention_layers",
    "dim_model_base",
    "expert_interval",
    "experts_per_token",
    "global_attn_every_n_layers",
    "is_encoder_decoder",
    "kv_lora_rank",
    "layer_replication",
    "layernorm_embedding",
    "mlp_bias",
    "moe_intermediate_size",
    "moe_layers",
    "no_rope_layer_interval",
    "no_rope_layers",
    "num_experts",
    "num_experts_per_tok",
    "num_kv_shared_layers",
    "num_local_experts",
    "num_nextn_predict_layers",
    "n_routed_experts",
    "output_gate",
    "parallel_attn",
    "parallel_residual",
    "per_layer_config",
    "pruned_heads",
    "q_lora_rank",
    "qk_layernorm",
    "qk_norm",
    "qkv_bias",
    "quantization",
    "quantization_config",
    "query_pre_attn_scalar",
    "rope_interleaved",
    "rope_local_base_freq",
    "rotary_dim",
    "tie_encoder_decoder",
    "use_alibi",
    "use_bias",
    "use_bidirectional_attention",
    "use_cross_attention",
    "use_parallel_residual",
    "use_post_attention_norm",
    "use_qk_norm",
];
/// Keys of limits on the logits; the value 0 turns them off.
const OFF_AT_ZERO: &[&str] = &[
    "attn_logit_softcapping",
    "final_logit_softcapping",
    "logit_softcapping",
    "logits_soft_cap",
    "normalize_embedding",
    "attn_logit_cap",
];
/// Keys of factors; the value 1 turns them off.
const OFF_AT_ONE: &[&str] = &[
    "attention_factor",
    "attention_multiplier",
    "attention_scale",
    "attn_scale",
    "embedding_multiplier",
    "embedding_scale",
    "logit_multiplier",
    "logit_scale",
    "logits_scaling",
    "lm_head_multiplier",
    "mlp_multiplier",
    "partial_rotary_factor",
    "residual_multiplier",
    "residual_scale",
    "rope_percent",
    "rotary_pct",
    "scale_depth",
    "scale_emb",
];

/// Checks the keys that were not read. Returns the unknown ones, as `key` = value.
///
/// # Errors
/// Fails if a key changes the computation in other implementations.
pub(crate) fn check_rest(fields: &Fields, gpt2: bool) -> Result<Vec<String>, ModelError> {
    check_architectures(fields)?;
    if fields.get("is_causal") == Some(&Value::Bool(false)) {
        return fields.refuse("is_causal", "true: a decoder, which sees no later token");
    }
    // The key is read so that it is not reported as unknown. The model is a decoder with either value.
    fields.get("is_decoder");
    let mut unknown = Vec::new();
    for (key, value) in fields.unread() {
        // `transformers` keeps its own records, such as where the model came from, under keys with an underscore.
        if key.starts_with('_')
            || WITHOUT_EFFECT.contains(&key)
            || (gpt2 && WITHOUT_EFFECT_IN_GPT2.contains(&key))
        {
            continue;
        }
        let number = value.as_f64();
        if OFF_AT_ONE.contains(&key) && number != Some(1.0) {
            return fields.refuse(
                key,
                "1, or no such key: this program does not apply the factor",
            );
        }
        if OFF_AT_ZERO.contains(&key) && number != Some(0.0) {
            return fields.refuse(key, "0, or no such key: this program does not compute it");
        }
        if COMPUTED_ELSEWHERE.contains(&key) && number != Some(0.0) {
            return fields.refuse(key, expected(key));
        }
        let known = [OFF_AT_ONE, OFF_AT_ZERO, COMPUTED_ELSEWHERE].concat();
        if !known.contains(&key) {
            unknown.push(format!("`{key}` = {}", shown(value)));
        }
    }
    Ok(unknown)
}

fn expected(key: &str) -> &'static str {
    match key {
        "quantization_config" | "quantization" | "compression_config" => {
            "none: quantized weights are not read; save the model dequantized (`model.dequantize()`, `save_pretrained`)"
        }
        "attention_bias" | "mlp_bias" | "is_encoder_decoder" | "add_cross_attention" => "false",
        _ => "it to be off or absent: this program does not compute it",
    }
}

/// Checks the architecture's name: a model for another task has another head and was trained differently.
fn check_architectures(fields: &Fields) -> Result<(), ModelError> {
    let Some(value) = fields.get("architectures") else {
        return Ok(());
    };
    let names: Vec<&str> = match value {
        Value::Array(list) => list.iter().filter_map(Value::as_str).collect(),
        _ => return fields.refuse("architectures", "a list of names"),
    };
    let generates = |name: &&str| {
        let name = name.to_ascii_lowercase();
        ["forcausallm", "lmheadmodel", "model"]
            .iter()
            .any(|end| name.ends_with(end))
    };
    if names.is_empty() || names.iter().any(generates) {
        return Ok(());
    }
    fields.refuse(
        "architectures",
        "a language model, such as `LlamaForCausalLM`",
    )
}
