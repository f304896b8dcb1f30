//! Tests that compare every model family with candle-transformers, an independent implementation.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::{llama, mistral, qwen2, qwen3};
use polymath_model::{
    Batch, Family, Implementation, LoadOptions, ModelConfig, Ops, Precision, RopeScaling,
    TokenizerFiles, Transformer,
};
use serde_json::{Value, json};

use crate::support::letters::write_tokenizer;

const LENGTH: usize = 48;

fn config() -> ModelConfig {
    ModelConfig {
        family: Family::Llama,
        qk_norm: false,
        vocab_size: 97,
        hidden_size: 48,
        intermediate_size: 88,
        num_hidden_layers: 3,
        num_attention_heads: 6,
        num_key_value_heads: 2,
        head_dim: 8,
        max_position_embeddings: 64,
        rope_theta: 500.0,
        rope_scaling: None,
        attention_bias: false,
        sliding_window: None,
        rms_norm_eps: 1e-5,
        tie_word_embeddings: true,
        initializer_range: 0.2,
        bos_token_id: 0,
        eos_token_id: 0,
        other_eos_token_ids: Vec::new(),
    }
}

/// Writes a checkpoint folder as another program does: with extra keys in `config.json`, and with biases and norms
/// that do not have their initial values.
fn write(folder: &Path, config: &ModelConfig, words: &Value) {
    let options = LoadOptions::frozen(&Device::Cpu, ops());
    let fresh = Transformer::initialize(config.clone(), 5, &options).unwrap();
    let weights: BTreeMap<String, Tensor> = fresh
        .parameters()
        .into_iter()
        .map(|(name, weight)| {
            if weight.rank() > 1 {
                return (name.to_owned(), weight);
            }
            let count = weight.elem_count();
            let wave = (0..count).map(|at| (at as f32 * 1.7 + count as f32).sin() * 0.3);
            let wave = Tensor::from_iter(wave, &Device::Cpu).unwrap();
            (name.to_owned(), (weight + wave).unwrap())
        })
        .collect();
    let tokenizer = write_tokenizer(folder);
    polymath_model::save_weights(folder, config, weights, &tokenizer).unwrap();
    let path = folder.join("config.json");
    let mut written: Value =
        serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    for (key, value) in words.as_object().unwrap() {
        written[key] = value.clone();
    }
    std::fs::write(path, written.to_string()).unwrap();
}

fn ops() -> Ops {
    Ops {
        implementation: Implementation::Fused,
        precision: Precision::F32,
    }
}

fn input_ids() -> Vec<u32> {
    (0..LENGTH)
        .map(|at| ((at * at * 7 + at) % 96 + 1) as u32)
        .collect()
}

/// Returns our logits of the last token. Also checks that saving and loading the folder again gives the same.
fn ours(folder: &Path) -> Tensor {
    let options = LoadOptions::frozen(&Device::Cpu, ops());
    let loaded = polymath_model::load(folder, &options).unwrap();
    let again = tempfile::tempdir().unwrap();
    let tokenizer = TokenizerFiles::read(&folder.join("tokenizer.json")).unwrap();
    polymath_model::save(again.path(), &loaded, &tokenizer).unwrap();
    let saved = polymath_model::load(again.path(), &options).unwrap();
    assert_eq!(saved.config(), loaded.config());
    let logits = |model: &Transformer| {
        let batch = Batch {
            input_ids: input_ids(),
            targets: vec![0; LENGTH],
            document_starts: vec![0; LENGTH],
            rows: 1,
            domains: vec![0; 1],
        };
        let all = model.logits(&batch).unwrap().reshape((LENGTH, 97)).unwrap();
        all.get(LENGTH - 1).unwrap()
    };
    let found = logits(&loaded);
    assert_eq!(
        found.to_vec1::<f32>().unwrap(),
        logits(&saved).to_vec1::<f32>().unwrap()
    );
    found
}

/// Reads the folder's weights, and its `config.json` with the keys that candle-transformers requires.
fn theirs<C: serde::de::DeserializeOwned>(
    folder: &Path,
    besides: &Value,
) -> (C, VarBuilder<'static>) {
    let text = std::fs::read_to_string(folder.join("config.json")).unwrap();
    let mut config: Value = serde_json::from_str(&text).unwrap();
    for (key, value) in besides.as_object().unwrap() {
        config[key] = value.clone();
    }
    let weights = candle_core::safetensors::load(folder.join("model.safetensors"), &Device::Cpu);
    let builder = VarBuilder::from_tensors(weights.unwrap(), DType::F32, &Device::Cpu);
    (serde_json::from_value(config).unwrap(), builder)
}

fn input() -> Tensor {
    Tensor::from_vec(input_ids(), (1, LENGTH), &Device::Cpu).unwrap()
}

fn assert_close(ours: &Tensor, theirs: &Tensor, name: &str) {
    let theirs = theirs.flatten_all().unwrap();
    let difference = (ours - theirs).unwrap().abs().unwrap();
    let difference = difference.max(0).unwrap().to_scalar::<f32>().unwrap();
    assert!(difference < 1e-4, "{name}: {difference}");
    let spread = ours
        .abs()
        .unwrap()
        .max(0)
        .unwrap()
        .to_scalar::<f32>()
        .unwrap();
    assert!(spread > 0.5, "{name}: logits that say nothing");
}

#[test]
fn llama_3_with_scaled_frequencies() {
    let folder = tempfile::tempdir().unwrap();
    let scaling = RopeScaling::Llama3 {
        factor: 8.0,
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_max_position_embeddings: 32,
    };
    let stretched = ModelConfig {
        rope_scaling: Some(scaling),
        ..config()
    };
    write(folder.path(), &stretched, &json!({}));
    let (config, builder): (llama::LlamaConfig, _) = theirs(folder.path(), &json!({}));
    let config = config.into_config(false);
    let model = llama::Llama::load(builder, &config).unwrap();
    let mut cache = llama::Cache::new(false, DType::F32, &config, &Device::Cpu).unwrap();
    let logits = model.forward(&input(), 0, &mut cache).unwrap();
    let found = ours(folder.path());
    assert_close(&found, &logits, "llama 3");
    // Without the scaling, the logits differ.
    let plain = tempfile::tempdir().unwrap();
    write(plain.path(), &self::config(), &json!({}));
    let difference = (found - ours(plain.path())).unwrap().abs().unwrap();
    assert!(difference.max(0).unwrap().to_scalar::<f32>().unwrap() > 1e-2);
}

/// Checks windows shorter and longer than the text. The window of candle-transformers is one key wider than that of
/// `transformers` and of the papers.
#[test]
fn mistral_with_a_window() {
    for window in [1, 7, 20, 64] {
        let folder = tempfile::tempdir().unwrap();
        let words = json!({"model_type": "mistral", "sliding_window": window});
        write(folder.path(), &config(), &words);
        let besides = json!({
            "hidden_act": "silu", "tie_word_embeddings": false, "sliding_window": window - 1
        });
        let (config, builder): (mistral::Config, _) = theirs(folder.path(), &besides);
        // candle-transformers' Mistral has no tied head, so the embedding is passed as the head.
        let embedding = builder.get((97, 48), "model.embed_tokens.weight").unwrap();
        let path = folder.path().join("model.safetensors");
        let mut weights = candle_core::safetensors::load(path, &Device::Cpu).unwrap();
        weights.insert("lm_head.weight".into(), embedding);
        let builder = VarBuilder::from_tensors(weights, DType::F32, &Device::Cpu);
        let mut model = mistral::Model::new(&config, builder).unwrap();
        let logits = model.forward(&input(), 0).unwrap();
        let what = format!("mistral with a window of {window}");
        assert_close(&ours(folder.path()), &logits, &what);
    }
}

#[test]
fn qwen2_with_biases() {
    let biased = ModelConfig {
        attention_bias: true,
        ..config()
    };
    // The window is off, or on in all layers, because candle-transformers applies it to all layers in any case.
    for (slides, window) in [(false, 65), (true, 9)] {
        let folder = tempfile::tempdir().unwrap();
        let words =
            json!({"use_sliding_window": slides, "sliding_window": 9, "max_window_layers": 0});
        write(folder.path(), &biased, &words);
        let (config, builder): (qwen2::Config, _) =
            theirs(folder.path(), &json!({"sliding_window": window - 1}));
        let mut model = qwen2::ModelForCausalLM::new(&config, builder).unwrap();
        let logits = model.forward(&input(), 0).unwrap();
        assert_close(&ours(folder.path()), &logits, "qwen2");
    }
}

#[test]
fn qwen3_with_norms() {
    let folder = tempfile::tempdir().unwrap();
    let normed = ModelConfig {
        qk_norm: true,
        tie_word_embeddings: false,
        ..config()
    };
    let words =
        json!({"use_sliding_window": false, "sliding_window": null, "max_window_layers": 3});
    write(folder.path(), &normed, &words);
    let (config, builder): (qwen3::Config, _) = theirs(folder.path(), &json!({}));
    let mut model = qwen3::ModelForCausalLM::new(&config, builder).unwrap();
    let logits = model.forward(&input(), 0).unwrap();
    assert_close(&ours(folder.path()), &logits, "qwen3");
}

/// Checks that an unsupported computation is refused with its key.
#[test]
fn unsupported_computations_are_refused_by_field() {
    let refused = |words: Value, said: &str| {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &config(), &words);
        let error = polymath_model::load_config(folder.path())
            .unwrap_err()
            .to_string();
        assert!(error.contains(said), "{error}");
    };
    let mixed = ["full_attention", "sliding_attention", "full_attention"];
    refused(
        json!({"model_type": "mistral", "sliding_window": 32, "layer_types": mixed}),
        "`layer_types` = [\"full_attention\"",
    );
    refused(
        json!({"model_type": "mistral", "sliding_window": 0}),
        "`sliding_window` is 0",
    );
    refused(
        json!({"model_type": "qwen3", "layer_types": mixed}),
        "expected `full_attention` alone, or `use_sliding_window` = true",
    );
    refused(
        json!({"model_type": "qwen3", "layer_types": ["linear_attention", "full_attention", "full_attention"]}),
        "expected `full_attention` or `sliding_attention` for each layer",
    );
    refused(
        json!({"model_type": "qwen3", "layer_types": ["full_attention"]}),
        "expected 3 layers",
    );
    refused(
        json!({"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}),
        "`rope_scaling` = {",
    );
    refused(
        json!({"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}),
        "`rope_scaling` = {",
    );
    refused(
        json!({"model_type": "gpt_neox"}),
        "`model_type` = `gpt_neox`",
    );
    // The older name of the scaling type, and a default without effect.
    for words in [
        json!({"rope_scaling": {"type": "linear", "factor": 2.0}}),
        json!({"rope_parameters": {"rope_type": "default", "rope_theta": 500.0}}),
    ] {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &config(), &words);
        polymath_model::load_config(folder.path()).unwrap();
    }
}

/// Checks the gradient of each bias by finite differences.
#[test]
fn biases_have_gradients() {
    let folder = tempfile::tempdir().unwrap();
    let biased = ModelConfig {
        attention_bias: true,
        ..config()
    };
    write(folder.path(), &biased, &json!({}));
    let options = LoadOptions::trained(&Device::Cpu, ops());
    let model = polymath_model::load(folder.path(), &options).unwrap();
    let batch = Batch {
        input_ids: input_ids(),
        targets: input_ids().into_iter().rev().collect(),
        document_starts: vec![0; LENGTH],
        rows: 1,
        domains: vec![0; 1],
    };
    let gradients = model.loss(&batch).unwrap().backward().unwrap();
    for part in ["q_proj", "v_proj"] {
        let name = format!("model.layers.1.self_attn.{part}.bias");
        let variable = &model.trainable()[&name];
        let gradient = gradients.get(variable).unwrap().to_vec1::<f32>().unwrap();
        let before = variable.as_tensor().copy().unwrap();
        let mut values = before.to_vec1::<f32>().unwrap();
        let step = 0.02;
        let mut loss = |change: f32| {
            let kept = values[3];
            values[3] += change;
            let moved = Tensor::from_slice(&values, values.len(), &Device::Cpu).unwrap();
            values[3] = kept;
            variable.set(&moved).unwrap();
            f64::from(model.loss(&batch).unwrap().to_scalar::<f32>().unwrap())
        };
        let slope = (loss(step) - loss(-step)) / (2.0 * f64::from(step));
        variable.set(&before).unwrap();
        let found = f64::from(gradient[3]);
        assert!(
            (slope - found).abs() < 0.02 * found.abs().max(0.1),
            "{name}: {slope} {found}"
        );
    }
}
