//! Tests of sizes, families and tokens in an untrusted `config.json`.

use super::*;

/// Checks that a small file can't exhaust the memory: sizes have limits, each alone and together, and are checked
/// before any allocation.
#[test]
fn sizes_have_bounds() {
    for (words, said) in [
        (
            json!({"num_hidden_layers": 1_000_000_000_000u64}),
            "`num_hidden_layers` is 1000000000000",
        ),
        (
            json!({"num_hidden_layers": u64::MAX}),
            "`num_hidden_layers` is 18446744073709551615",
        ),
        (
            json!({"num_hidden_layers": 1e12}),
            "`num_hidden_layers` = 1000000000000.0",
        ),
        (json!({"num_hidden_layers": -1}), "`num_hidden_layers` = -1"),
        (json!({"num_hidden_layers": 0}), "`num_hidden_layers` is 0"),
        (
            json!({"model_type": "mistral", "sliding_window": 4, "num_hidden_layers": 4_000_000_000_000_000_000u64}),
            "`num_hidden_layers` is 4000000000000000000",
        ),
        (
            json!({"model_type": "mistral", "sliding_window": u64::MAX}),
            "`sliding_window` is",
        ),
        (
            json!({"max_position_embeddings": 1_000_000_000_000u64}),
            "`max_position_embeddings` is",
        ),
        (json!({"hidden_size": u64::MAX / 2}), "`hidden_size` is"),
        (
            json!({"intermediate_size": u64::MAX}),
            "`intermediate_size` is",
        ),
        (json!({"vocab_size": u64::MAX}), "`vocab_size` is"),
        (
            json!({"num_attention_heads": 0}),
            "`num_attention_heads` is 0",
        ),
        (
            json!({"num_attention_heads": u64::MAX}),
            "`num_attention_heads` is",
        ),
        (
            json!({"num_key_value_heads": 0}),
            "`num_key_value_heads` is 0",
        ),
        (json!({"head_dim": u64::MAX}), "`head_dim` is"),
        (json!({"head_dim": 7}), "`head_dim` = 7 is odd"),
        (json!({"rope_theta": -1.0}), "`rope_theta` is -1"),
        (json!({"rope_theta": 0}), "`rope_theta` is 0"),
        (json!({"rms_norm_eps": -1e-5}), "`rms_norm_eps` is -0.00001"),
        (json!({"rms_norm_eps": "small"}), "`rms_norm_eps` = `small`"),
        (
            json!({"initializer_range": -0.1}),
            "`initializer_range` is -0.1",
        ),
        (
            json!({"head_dim": 64, "hidden_size": 1 << 20, "intermediate_size": 1 << 22, "num_hidden_layers": 4096, "head_dim": 64}),
            "the sizes make",
        ),
        (json!({"eos_token_id": 97}), "`eos_token_id` is 97"),
        (
            json!({"bos_token_id": 4_000_000_000u32}),
            "`bos_token_id` is 4000000000",
        ),
    ] {
        assert_refused(words, said);
    }
    // In a GPT-2 the sizes have other keys.
    let gpt2 = |words: Value| {
        let mut all = json!({
            "model_type": "gpt2", "vocab_size": 97, "n_positions": 32, "n_embd": 16, "n_layer": 2, "n_head": 2,
            "eos_token_id": 1,
        });
        for (key, value) in words.as_object().unwrap() {
            all[key] = value.clone();
        }
        ModelConfig::from_json("config.json".as_ref(), &all.to_string())
    };
    gpt2(json!({"n_ctx": 32, "hidden_size": 16})).unwrap();
    for (words, said) in [
        (json!({"n_layer": 1_000_000_000_000u64}), "`n_layer` is"),
        (json!({"n_embd": u64::MAX}), "`n_embd` is"),
        (json!({"n_inner": u64::MAX}), "`n_inner` is"),
        (json!({"n_positions": u64::MAX}), "`n_positions` is"),
        (
            json!({"n_positions": 1 << 30, "n_embd": 1 << 20, "n_head": 1 << 10}),
            "the sizes make",
        ),
        (json!({"n_head": 0}), "`n_head` is 0"),
        (json!({"n_ctx": 16}), "`n_ctx` = 16"),
        (json!({"hidden_size": 8}), "`hidden_size` = 8"),
        (json!({"layer_norm_epsilon": -1}), "`rms_norm_eps` is -1"),
    ] {
        let error = gpt2(words).unwrap_err().to_string();
        assert!(error.contains(said), "expected `{said}`: {error}");
    }
}

/// Checks the limits of the sizes in the `[model]` table; errors name its keys.
#[test]
fn sizes_of_a_new_model_have_bounds() {
    let refused = |words: Value, said: &str| {
        let mut shape =
            json!({"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2});
        for (key, value) in words.as_object().unwrap() {
            shape[key] = value.clone();
        }
        let shape: ArchitectureConfig = serde_json::from_value(shape).unwrap();
        let error = shape
            .resolve(97, 32, EndTokens { begin: 1, end: 2 })
            .unwrap_err()
            .to_string();
        assert!(error.contains(said), "expected `{said}`: {error}");
    };
    refused(
        json!({"hidden_size": u64::MAX / 8}),
        "`model.hidden_size` is",
    );
    refused(
        json!({"num_hidden_layers": 1_000_000_000_000u64}),
        "`model.num_hidden_layers` is",
    );
    refused(
        json!({"num_hidden_layers": 4_000_000_000_000_000_000u64, "sliding_window": 4}),
        "`model.num_hidden_layers` is",
    );
    refused(
        json!({"num_attention_heads": 0}),
        "`model.num_attention_heads` is 0",
    );
    refused(
        json!({"max_position_embeddings": u64::MAX}),
        "`model.max_position_embeddings` is",
    );
    refused(json!({"head_dim": u64::MAX}), "`model.head_dim` is");
    refused(json!({"sliding_window": 0}), "`model.sliding_window` is 0");
    refused(json!({"rope_theta": -10.0}), "`rope_theta` is -10");
    refused(json!({"rms_norm_eps": 0.0}), "`rms_norm_eps` is 0");
    refused(
        json!({"initializer_range": -1.0}),
        "`initializer_range` is -1",
    );
}

/// Checks that a long context costs nothing until it is used: a model with a context of 2³⁰ tokens loads and gives
/// the same bits.
#[test]
fn long_contexts_cost_nothing_until_used() {
    let folder = Folder::new(true);
    let before = folder.logits();
    folder.config(&json!({"max_position_embeddings": 1 << 30}));
    assert_eq!(folder.logits(), before);
}

/// Checks that an unsupported family is reported before missing keys.
#[test]
fn unsupported_families_are_reported_first() {
    for (name, text) in [
        (
            "phi",
            json!({"model_type": "phi", "partial_rotary_factor": 0.5, "layer_norm_eps": 1e-5}),
        ),
        (
            "stablelm",
            json!({"model_type": "stablelm", "use_qkv_bias": true}),
        ),
        (
            "gpt_neox",
            json!({"model_type": "gpt_neox", "rotary_pct": 0.25}),
        ),
        (
            "lfm2",
            json!({"model_type": "lfm2", "conv_L_cache": 3, "eos_token_id": null}),
        ),
        (
            "gemma3_text",
            json!({"model_type": "gemma3_text", "layer_types": []}),
        ),
    ] {
        let error = ModelConfig::from_json("config.json".as_ref(), &text.to_string());
        let error = error.unwrap_err().to_string();
        let said = format!("`model_type` = `{name}` is not supported");
        assert!(
            error.contains(&said) && error.contains("`qwen3`"),
            "{error}"
        );
    }
    let error = ModelConfig::from_json("config.json".as_ref(), "{}").unwrap_err();
    assert!(
        error.to_string().contains("`model_type` is missing"),
        "{error}"
    );
    let error = ModelConfig::from_json("config.json".as_ref(), "[1]").unwrap_err();
    assert!(error.to_string().contains("JSON object"), "{error}");
}

/// Checks that two different values of one number are refused, in any of the keys that can hold them, and that equal
/// values are accepted.
#[test]
fn rotary_contradictions_are_refused() {
    let both = |inner: f64| json!({"rope_theta": 10_000.0, "rope_parameters": {"rope_type": "default", "rope_theta": inner}});
    assert_eq!(config_with(both(10_000.0)).unwrap().rope_theta, 10_000.0);
    let error = config_with(both(500_000.0)).unwrap_err();
    assert!(
        error.contains("`rope_theta` = `10000`")
            && error.contains("`rope_parameters.rope_theta` = `500000`"),
        "{error}"
    );
    let inside = json!({"rope_theta": "absent", "rope_parameters": {"rope_theta": 7000.0}});
    assert_eq!(config_with(inside).unwrap().rope_theta, 7000.0);
    let inside = json!({"rope_theta": null, "rope_scaling": {"rope_type": "linear", "factor": 2.0, "rope_theta": 7000}});
    let found = config_with(inside).unwrap();
    assert_eq!(found.rope_theta, 7000.0);
    assert_eq!(
        found.rope_scaling,
        Some(RopeScaling::Linear { factor: 2.0 })
    );
    for (words, said) in [
        (
            json!({"rope_scaling": {"rope_type": "linear", "factor": 2.0}, "rope_parameters": {"rope_type": "default"}}),
            "contradict each other",
        ),
        (
            json!({"rope_scaling": {"rope_type": "linear", "type": "dynamic", "factor": 2.0}}),
            "`rope_scaling.rope_type` and `rope_scaling.type`",
        ),
        (
            json!({"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}}),
            "`rope_parameters.partial_rotary_factor` = 0.5",
        ),
        (
            json!({"rope_parameters": {"full_attention": {"rope_type": "default"}}}),
            "`rope_parameters.full_attention`",
        ),
        (
            json!({"rope_scaling": {"factor": 4.0}}),
            "expected a `rope_type` that has a `factor`",
        ),
        (json!({"rope_scaling": "linear"}), "expected an object"),
        (
            json!({"rope_parameters": {"rope_theta": "big"}}),
            "a number as its `rope_theta`",
        ),
    ] {
        assert_refused(words, said);
    }
}

/// Checks that an end token is required, and that a value that is not a token is reported.
#[test]
fn end_tokens_are_required_and_checked() {
    for words in [
        json!({"eos_token_id": null}),
        json!({"eos_token_id": "absent"}),
        json!({"eos_token_id": []}),
        json!({"eos_token_id": -1}),
        json!({"eos_token_id": [2, -1]}),
        json!({"eos_token_id": "</s>"}),
        json!({"eos_token_id": 1.5}),
    ] {
        assert_refused(words, "`eos_token_id`");
    }
    assert_refused(json!({"bos_token_id": -1}), "`bos_token_id` = -1");
    let found = config_with(json!({"bos_token_id": null, "eos_token_id": [7, 8, 7]})).unwrap();
    assert_eq!((found.bos_token_id, found.eos_token_id), (7, 7));
    // The end token 2 comes from the folder's `generation_config.json`.
    assert_eq!(found.other_eos_token_ids, [8, 2]);
    // A `generation_config.json` can name further end tokens; a value that is not a token is ignored.
    let folder = Folder::new(true);
    let at = folder.path().join("generation_config.json");
    std::fs::write(&at, r#"{"eos_token_id": [5, -1, 2]}"#).unwrap();
    assert_eq!(load_config(folder.path()).unwrap().other_eos_token_ids, [5]);
    std::fs::write(&at, r#"{"eos_token_id": -1}"#).unwrap();
    assert!(
        load_config(folder.path())
            .unwrap()
            .other_eos_token_ids
            .is_empty()
    );
    std::fs::write(&at, r#"{"eos_token_id": "</s>"}"#).unwrap();
    let error = load_config(folder.path()).unwrap_err().to_string();
    assert!(error.contains("generation_config.json"), "{error}");
}
