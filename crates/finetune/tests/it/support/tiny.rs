//! Model and documents for tests, small enough to check by hand.
#![allow(dead_code, reason = "each program uses a part")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use candle_core::{Device, Tensor};
use polymath_data::{NamedShard, ShardWriter, TokenShard};
use polymath_model::{
    ArchitectureConfig, EndTokens, LoadOptions, Ops, Precision, TokenizerFiles, Transformer,
};

pub const VOCABULARY: usize = 23;

pub fn ops() -> Ops {
    Ops::fused(Precision::F32)
}

pub fn model(seed: u64, options: &LoadOptions) -> Transformer {
    let architecture: ArchitectureConfig = toml::from_str(
        "hidden_size = 8\nnum_hidden_layers = 2\nnum_attention_heads = 2\nmax_position_embeddings = 16",
    )
    .unwrap();
    let config = architecture
        .resolve(VOCABULARY, 16, EndTokens { begin: 0, end: 0 })
        .unwrap();
    Transformer::initialize(config, seed, options).unwrap()
}

pub fn trained(seed: u64) -> Transformer {
    model(seed, &LoadOptions::trained(&Device::Cpu, ops()))
}

pub fn frozen(seed: u64) -> Transformer {
    model(seed, &LoadOptions::frozen(&Device::Cpu, ops()))
}

/// Writes a tiny model with random weights of the given seed, and its tokenizer, to a new folder.
pub fn save(folder: &Path, seed: u64) {
    std::fs::create_dir(folder).unwrap();
    let tokenizer = folder.parent().unwrap().join("tokenizer.json");
    std::fs::write(
        &tokenizer,
        "{\"version\": \"1.0\", \"model\": {\"type\": \"WordLevel\", \"vocab\": {\"a\": 0}, \"unk_token\": \"a\"}}",
    )
    .unwrap();
    let tokenizer = TokenizerFiles::read(&tokenizer).unwrap();
    polymath_model::save(folder, &frozen(seed), &tokenizer).unwrap();
}

/// Returns documents of consecutive token IDs that start at arbitrary numbers.
pub fn shard(documents: u32) -> Arc<TokenShard> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("train.safetensors");
    let mut writer = ShardWriter::create(&path, VOCABULARY).unwrap();
    for document in 0..documents {
        let mut tokens: Vec<u32> = (0..9 + document % 5)
            .map(|at| 1 + (document * 7 + at) % 22)
            .collect();
        tokens.push(0);
        writer.push(&tokens, &[], 10).unwrap();
    }
    writer.finish().unwrap();
    Arc::new(TokenShard::open(&path).unwrap())
}

/// Returns the documents as a domain with the given name.
pub fn named(name: &str, documents: u32) -> NamedShard {
    NamedShard {
        name: name.to_owned(),
        shard: shard(documents),
    }
}

pub fn values(tensor: &Tensor) -> Vec<f64> {
    let tensor = tensor.to_dtype(candle_core::DType::F64).unwrap();
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// Returns the elements of each parameter as f64 numbers, by name.
pub fn numbers(parameters: &BTreeMap<String, Tensor>) -> BTreeMap<String, Vec<f64>> {
    parameters
        .iter()
        .map(|(name, tensor)| (name.clone(), values(tensor)))
        .collect()
}

pub fn assert_close(found: &[f64], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(1e-9f64, |most, x| most.max(x.abs()));
    for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!(
            (found - expected).abs() <= tolerance * largest,
            "{what}, element {at}: {found} for {expected}"
        );
    }
}
