//! Tests of untrusted model folders: every size, key and tensor is either used, refused by name, or reported as
//! unused.

mod configs;
mod keys;

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
