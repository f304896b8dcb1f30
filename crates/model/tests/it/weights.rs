//! Tests of weights in one or several files, as other programs save them.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use polymath_model::{
    ArchitectureConfig, EndTokens, LoadOptions, ModelConfig, Ops, Precision, Transformer,
    load_weights, sha256_of_weights,
};

fn config() -> ModelConfig {
    let architecture = ArchitectureConfig {
        hidden_size: 16,
        num_hidden_layers: 2,
        num_attention_heads: 2,
        num_key_value_heads: None,
        head_dim: None,
        intermediate_size: Some(24),
        max_position_embeddings: Some(32),
        rope_theta: 10_000.0,
        rms_norm_eps: 1e-5,
        qk_norm: false,
        sliding_window: None,
        tie_word_embeddings: true,
        initializer_range: None,
    };
    architecture
        .resolve(31, 32, EndTokens { begin: 0, end: 0 })
        .unwrap()
}

fn weights() -> BTreeMap<String, Tensor> {
    let options = LoadOptions::trained(&Device::Cpu, Ops::fused(Precision::F32));
    let model = Transformer::initialize(config(), 3, &options).unwrap();
    let named = model.parameters().into_iter();
    named
        .map(|(name, tensor)| (name.to_owned(), tensor))
        .collect()
}

fn save(path: &Path, weights: BTreeMap<String, Tensor>) {
    let weights: HashMap<String, Tensor> = weights.into_iter().collect();
    candle_core::safetensors::save(&weights, path).unwrap();
}

/// Checks a model in two files with an index, in half precision, with an extra tensor, as `save_pretrained` may write
/// it, and that missing files are reported.
#[test]
fn models_in_several_files_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    std::fs::write(at.join("config.json"), config().to_json()).unwrap();
    let all = weights();
    let files = [
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
    ];
    let mut index = BTreeMap::new();
    let mut parts = [BTreeMap::new(), BTreeMap::new()];
    for (number, (name, tensor)) in all.iter().enumerate() {
        let half = tensor.to_dtype(DType::BF16).unwrap();
        parts[number % 2].insert(name.clone(), half);
        index.insert(name.clone(), files[number % 2]);
    }
    let buffer = Tensor::zeros(4, DType::F32, &Device::Cpu).unwrap();
    parts[1].insert("model.rotary_emb.inv_freq".into(), buffer);
    for (name, part) in files.iter().zip(parts) {
        save(&at.join(name), part);
    }
    let text = serde_json::json!({ "metadata": {}, "weight_map": index }).to_string();
    std::fs::write(at.join("model.safetensors.index.json"), text).unwrap();

    let loaded = load_weights(at).unwrap();
    assert_eq!(
        loaded.keys().collect::<Vec<_>>(),
        all.keys().collect::<Vec<_>>()
    );
    for (name, tensor) in &all {
        let difference = (tensor - &loaded[name]).unwrap().abs().unwrap();
        let largest = difference.flatten_all().unwrap().max(0).unwrap();
        assert!(largest.to_scalar::<f32>().unwrap() < 1e-2, "{name}");
        assert_eq!(loaded[name].dtype(), DType::F32);
    }
    // The digest of the base includes every file.
    let digest = sha256_of_weights(at).unwrap();
    let second = std::fs::read(at.join(files[1])).unwrap();
    save(&at.join(files[1]), BTreeMap::new());
    assert_ne!(sha256_of_weights(at).unwrap(), digest);
    let error = load_weights(at).unwrap_err().to_string();
    assert!(
        error.contains("the parameter `model.") && error.contains("is missing"),
        "{error}"
    );
    // A shard of another download may hold a tensor that another shard has too.
    let (name, tensor) = all.iter().next().unwrap();
    std::fs::write(at.join(files[1]), &second).unwrap();
    let mut twice = candle_core::safetensors::load(at.join(files[1]), &Device::Cpu).unwrap();
    twice.insert(name.clone(), tensor.clone());
    save(&at.join(files[1]), twice.into_iter().collect());
    let error = load_weights(at).unwrap_err().to_string();
    assert!(
        error.contains(files[1]) && error.contains(&format!("has `{name}`, which")),
        "{error}"
    );
    std::fs::write(at.join(files[1]), &second[..second.len() / 2]).unwrap();
    let error = load_weights(at).unwrap_err().to_string();
    assert!(
        error.contains(files[1]) && error.contains("cut off"),
        "{error}"
    );
    std::fs::remove_file(at.join(files[1])).unwrap();
    let error = load_weights(at).unwrap_err().to_string();
    assert!(
        error.contains("index.json") && error.contains("not there"),
        "{error}"
    );
}

/// Checks that pickled weights are refused with a way to convert them.
#[test]
fn pickled_weights_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("config.json"), config().to_json()).unwrap();
    std::fs::write(folder.path().join("pytorch_model.bin"), b"\x80\x02").unwrap();
    let error = load_weights(folder.path()).unwrap_err().to_string();
    assert!(error.contains("safe_serialization=True"), "{error}");
}
