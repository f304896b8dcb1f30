//! Tests of untrusted model folders: every size, key and tensor is either used, refused by name, or reported as
//! unused.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use polymath_model::{
    ArchitectureConfig, Batch, EndTokens, LoadOptions, ModelConfig, ModelError, ModelSource, Ops,
    Precision, RopeScaling, TokenizerFiles, Transformer, load_config, load_weights, save_weights,
};
use serde_json::{Value, json};

use crate::support::letters::write_tokenizer;

const WEIGHTS: &str = "model.safetensors";

fn shape(tied: bool) -> ModelConfig {
    let shape = json!({
        "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "tie_word_embeddings": tied,
    });
    let shape: ArchitectureConfig = serde_json::from_value(shape).unwrap();
    shape
        .resolve(97, 32, EndTokens { begin: 1, end: 2 })
        .unwrap()
}

fn options() -> LoadOptions<'static> {
    LoadOptions::frozen(&Device::Cpu, Ops::fused(Precision::F32))
}

/// A temporary model folder.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new(tied: bool) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        let fresh = Transformer::initialize(shape(tied), 5, &options()).unwrap();
        let tokenizer = write_tokenizer(folder.path());
        save_weights(
            folder.path(),
            fresh.config(),
            fresh.parameters(),
            &tokenizer,
        )
        .unwrap();
        folder
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Changes keys of the `config.json`; the value `"absent"` removes a key.
    fn config(&self, words: &Value) {
        let path = self.path().join("config.json");
        let text = std::fs::read_to_string(&path).unwrap();
        let mut config: Value = serde_json::from_str(&text).unwrap();
        for (key, value) in words.as_object().unwrap() {
            if value == "absent" {
                config.as_object_mut().unwrap().remove(key);
            } else {
                config[key] = value.clone();
            }
        }
        std::fs::write(path, config.to_string()).unwrap();
    }

    fn tensors(&self) -> HashMap<String, Tensor> {
        candle_core::safetensors::load(self.path().join(WEIGHTS), &Device::Cpu).unwrap()
    }

    fn write(&self, tensors: &HashMap<String, Tensor>) {
        candle_core::safetensors::save(tensors, self.path().join(WEIGHTS)).unwrap();
    }

    /// Adds a tensor of ones to the model's file.
    fn add(&self, name: &str, dims: &[usize]) {
        let mut tensors = self.tensors();
        let ones = Tensor::ones(dims, DType::F32, &Device::Cpu).unwrap();
        tensors.insert(name.into(), ones);
        self.write(&tensors);
    }

    fn logits(&self) -> Vec<f32> {
        let model = polymath_model::load(self.path(), &options()).unwrap();
        let batch = Batch {
            input_ids: vec![1, 5, 9, 40],
            targets: vec![0; 4],
            document_starts: vec![0; 4],
            rows: 1,
            domains: vec![0; 1],
        };
        let logits = model.logits(&batch).unwrap();
        logits.flatten_all().unwrap().to_vec1().unwrap()
    }
}

/// Reads the config with these keys changed.
fn config_with(words: Value) -> Result<ModelConfig, String> {
    let folder = Folder::new(true);
    folder.config(&words);
    load_config(folder.path()).map_err(|error| error.to_string())
}

fn assert_refused(words: Value, said: &str) {
    let error = config_with(words.clone()).expect_err(&words.to_string());
    assert!(
        error.contains(said) && error.contains("config.json"),
        "{words}: expected `{said}`: {error}"
    );
}

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

/// Checks that an untied head in the file is used, even if the config states that it is tied, and that a head equal
/// to the embedding is not.
#[test]
fn an_untied_head_is_used_whatever_the_flag_says() {
    let tied = Folder::new(true);
    let before = tied.logits();
    let mut tensors = tied.tensors();
    let embedding = tensors["model.embed_tokens.weight"].clone();
    tensors.insert("lm_head.weight".into(), embedding.clone());
    tied.write(&tensors);
    assert!(load_config(tied.path()).unwrap().tie_word_embeddings);
    assert!(
        ModelSource::of(tied.path())
            .unused_content()
            .unwrap()
            .is_empty()
    );
    assert_eq!(tied.logits(), before);
    // The values are compared, not the bytes of the files' types.
    let half = embedding.to_dtype(DType::BF16).unwrap();
    let widened = half.to_dtype(DType::F32).unwrap();
    tensors.insert("lm_head.weight".into(), half);
    tensors.insert("model.embed_tokens.weight".into(), widened);
    tied.write(&tensors);
    assert!(load_config(tied.path()).unwrap().tie_word_embeddings);

    let head = (embedding.clone() * -2.0).unwrap();
    tensors.insert("model.embed_tokens.weight".into(), embedding);
    tensors.insert("lm_head.weight".into(), head);
    tied.write(&tensors);
    let config = load_config(tied.path()).unwrap();
    assert!(!config.tie_word_embeddings);
    let said = ModelSource::of(tied.path())
        .unused_content()
        .unwrap()
        .join("\n");
    assert!(
        said.contains("`lm_head.weight` with other values"),
        "{said}"
    );
    let expected: Vec<f32> = before.iter().map(|logit| logit * -2.0).collect();
    for (found, expected) in tied.logits().iter().zip(&expected) {
        assert!((found - expected).abs() < 1e-5, "{found} {expected}");
    }
    // A folder that is saved again has the right value in its config.
    let again = tempfile::tempdir().unwrap();
    let model = polymath_model::load(tied.path(), &options()).unwrap();
    let tokenizer = TokenizerFiles::read(&tied.path().join("tokenizer.json")).unwrap();
    polymath_model::save(again.path(), &model, &tokenizer).unwrap();
    let text = std::fs::read_to_string(again.path().join("config.json")).unwrap();
    assert!(text.contains("\"tie_word_embeddings\": false"), "{text}");
}

/// Checks that tensors of another model are refused with their number, that computed buffers are ignored, and that
/// unrelated tensors are reported.
#[test]
fn every_tensor_is_used_refused_or_reported() {
    for (name, dims) in [
        ("model.layers.0.self_attn.q_proj.bias", &[16][..]),
        ("model.layers.1.self_attn.q_norm.weight", &[8]),
        ("model.layers.2.input_layernorm.weight", &[16]),
        ("model.layers.0.mlp.up_proj.weight_scale", &[1]),
        ("lm_head.bias", &[97]),
    ] {
        let folder = Folder::new(true);
        folder.add(name, dims);
        let error = load_weights(folder.path()).unwrap_err().to_string();
        assert!(
            error.contains("has 1 tensor that") && error.contains(name) && error.contains(WEIGHTS),
            "{error}"
        );
    }
    let folder = Folder::new(true);
    let before = folder.logits();
    folder.add("model.layers.0.self_attn.rotary_emb.inv_freq", &[4]);
    assert!(
        ModelSource::of(folder.path())
            .unused_content()
            .unwrap()
            .is_empty()
    );
    folder.add("score.weight", &[2, 16]);
    folder.add("v_head.summary.weight", &[1, 16]);
    let said = ModelSource::of(folder.path())
        .unused_content()
        .unwrap()
        .join("\n");
    assert!(
        said.contains("2 tensors") && said.contains("`score.weight`"),
        "{said}"
    );
    assert_eq!(folder.logits(), before);
}

/// Checks that a weight that is not finite is reported with its file, for any type and position, and that it is not
/// saved.
#[test]
fn non_finite_weights_are_neither_read_nor_saved() {
    for (strange, kind) in [
        (f32::NAN, DType::F32),
        (f32::INFINITY, DType::F32),
        (f32::NEG_INFINITY, DType::BF16),
        (f32::NAN, DType::F16),
    ] {
        let folder = Folder::new(true);
        let name = "model.layers.1.mlp.down_proj.weight";
        let mut tensors = folder.tensors();
        let dims = tensors[name].dims().to_vec();
        let mut values = vec![0.5f32; dims.iter().product()];
        *values.last_mut().unwrap() = strange;
        let tensor = Tensor::from_vec(values, dims, &Device::Cpu).unwrap();
        tensors.insert(name.into(), tensor.to_dtype(kind).unwrap());
        folder.write(&tensors);
        let error = load_weights(folder.path()).unwrap_err().to_string();
        assert!(
            error.contains(name) && error.contains(WEIGHTS) && error.contains("NaN or infinite"),
            "{error}"
        );
    }
    let fresh = Transformer::initialize(shape(true), 5, &options()).unwrap();
    let mut weights: BTreeMap<&str, Tensor> = fresh.parameters();
    let norm = (weights["model.norm.weight"].clone() * f64::INFINITY).unwrap();
    weights.insert("model.norm.weight", norm);
    let place = tempfile::tempdir().unwrap();
    let tokenizer = write_tokenizer(place.path());
    let error = save_weights(place.path(), fresh.config(), weights, &tokenizer).unwrap_err();
    assert!(
        matches!(&error, ModelError::Unsaved(name) if name == "model.norm.weight"),
        "{error}"
    );
    assert!(!place.path().join(WEIGHTS).exists());
}

/// Checks that an index can name only files within its folder.
#[test]
fn an_index_stays_in_its_folder() {
    let folder = Folder::new(true);
    let at = folder.path();
    let outside = tempfile::tempdir().unwrap();
    let elsewhere = outside.path().join("weights.safetensors");
    std::fs::rename(at.join(WEIGHTS), &elsewhere).unwrap();
    let index = at.join("model.safetensors.index.json");
    let name_it = |name: &str| {
        let map = json!({"weight_map": {"model.norm.weight": name}});
        std::fs::write(&index, map.to_string()).unwrap();
        load_weights(at).unwrap_err().to_string()
    };
    let up = format!(
        "../{}/weights.safetensors",
        outside.path().file_name().unwrap().display()
    );
    for name in [
        up.as_str(),
        elsewhere.to_str().unwrap(),
        "a/../../b",
        "",
        ".",
        "..\\b",
    ] {
        let error = name_it(name);
        assert!(
            error.contains("leads out of the folder") && error.contains(name),
            "{error}"
        );
    }
    assert!(name_it("part.safetensors").contains("is not there"));
    std::fs::copy(&elsewhere, at.join("part.safetensors")).unwrap();
    let map = json!({"weight_map": {"model.norm.weight": "part.safetensors"}});
    std::fs::write(&index, map.to_string()).unwrap();
    load_weights(at).unwrap();
}
