//! Tests that each key of an untrusted `config.json` is used, refused or reported.

use super::*;

/// Checks that a key that changes the computation in another program is refused unless its value turns it off, and
/// that unknown keys are reported.
#[test]
fn every_key_is_used_refused_or_reported() {
    for (words, key) in [
        (json!({"attention_bias": true}), "attention_bias"),
        (json!({"mlp_bias": true}), "mlp_bias"),
        (
            json!({"model_type": "qwen3", "attention_bias": true}),
            "attention_bias",
        ),
        (
            json!({"partial_rotary_factor": 0.5}),
            "partial_rotary_factor",
        ),
        (
            json!({"attention_multiplier": 0.0078125}),
            "attention_multiplier",
        ),
        (json!({"logits_scaling": 8.0}), "logits_scaling"),
        (json!({"logit_scale": 0.0625}), "logit_scale"),
        (
            json!({"embedding_multiplier": 12.0}),
            "embedding_multiplier",
        ),
        (json!({"residual_multiplier": 0.22}), "residual_multiplier"),
        (
            json!({"final_logit_softcapping": 30.0}),
            "final_logit_softcapping",
        ),
        (
            json!({"attn_logit_softcapping": 50.0}),
            "attn_logit_softcapping",
        ),
        (
            json!({"query_pre_attn_scalar": 256}),
            "query_pre_attn_scalar",
        ),
        (
            json!({"quantization_config": {"quant_method": "gptq", "bits": 4}}),
            "quantization_config",
        ),
        (json!({"num_local_experts": 8}), "num_local_experts"),
        (
            json!({"per_layer_config": {"1": {"hidden_size": 8}}}),
            "per_layer_config",
        ),
        (json!({"pruned_heads": {"0": [1]}}), "pruned_heads"),
        (json!({"is_causal": false}), "is_causal"),
        (json!({"sliding_window": 8}), "sliding_window"),
        (
            json!({"layer_types": ["sliding_attention", "full_attention"]}),
            "layer_types",
        ),
        (json!({"hidden_act": "gelu"}), "hidden_act"),
        (
            json!({"architectures": ["LlamaForSequenceClassification"]}),
            "architectures",
        ),
    ] {
        assert_refused(words, &format!("`{key}`"));
    }
    let folder = Folder::new(true);
    let before = folder.logits();
    folder.config(&json!({
        "attention_bias": false, "mlp_bias": null, "partial_rotary_factor": 1.0, "logits_scaling": 1,
        "final_logit_softcapping": null, "attn_logit_softcapping": 0, "quantization_config": null, "pruned_heads": {},
        "num_local_experts": 0, "sliding_window": 4096, "layer_types": ["full_attention", "full_attention"],
        "pretraining_tp": 2, "attention_dropout": 0.1, "transformers_version": "5.24.0", "pad_token_id": -1,
        "rope_interleaved": false, "_name_or_path": "x", "architectures": ["LlamaForCausalLM"], "use_cache": false,
    }));
    assert_eq!(
        ModelSource::of(folder.path()).unused_content().unwrap(),
        Vec::<String>::new()
    );
    assert_eq!(folder.logits(), before);
    folder.config(&json!({"unsloth_version": "2026.1", "heads_of_hydra": 9}));
    let said = ModelSource::of(folder.path())
        .unused_content()
        .unwrap()
        .join("\n");
    assert!(
        said.contains("2 keys")
            && said.contains("`heads_of_hydra` = 9")
            && said.contains("`unsloth_version`"),
        "{said}"
    );
    assert_eq!(folder.logits(), before);
}

/// Checks the defaults of `transformers` for missing keys and for null.
#[test]
fn missing_keys_get_the_familys_defaults() {
    let heads = |model_type: &str, stated: Value| {
        let words = json!({
            "model_type": model_type, "num_attention_heads": 32, "hidden_size": 256, "num_key_value_heads": stated,
            "head_dim": "absent",
        });
        let found = config_with(words).unwrap();
        (found.num_key_value_heads, found.head_dim)
    };
    assert_eq!(heads("llama", json!("absent")), (32, 8));
    assert_eq!(heads("mistral", json!("absent")), (8, 8));
    assert_eq!(heads("mistral", json!(null)), (32, 8));
    assert_eq!(heads("qwen2", json!("absent")), (32, 8));
    assert_eq!(heads("qwen3", json!(4)), (4, 128));
}
