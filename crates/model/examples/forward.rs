//! Writes a checkpoint's logits, gradients and greedy text, so that other programs can compare: `scripts/check/hf.sh`.
//!
//! `cargo run --release --example forward -- <model or adapter folder> <tokens.json> <output folder>` reads one list of
//! token ids and writes
//!
//! - `forward.safetensors`: `logits` (tokens − 1, vocabulary); `loss`, the mean over the next tokens; its gradient, by
//!   parameter; and `greedy`, up to [`CONTINUED`] tokens that continue the first N/2 of the N given tokens;
//! - `saved`, the checkpoint as this program saves it; and `merged`, the base with the adapter merged, if the folder is
//!   an adapter.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use polymath_model::{
    Batch, Generation, LoadOptions, ModelError, ModelSource, Ops, Precision, SamplingConfig,
    TokenizerFiles, Transformer,
};

/// Maximum number of tokens that are generated greedily.
const CONTINUED: usize = 32;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<PathBuf> = std::env::args().skip(1).map(PathBuf::from).collect();
    let [folder, tokens, output] = &arguments[..] else {
        return Err("usage: forward <folder> <tokens.json> <output folder>".into());
    };
    let ids: Vec<u32> = serde_json::from_str(&std::fs::read_to_string(tokens)?)?;
    let model = load(folder)?;
    std::fs::create_dir_all(output)?;
    let found = run(&model, &ids)?;
    safetensors::serialize_to_file(&found, None, &output.join("forward.safetensors"))?;
    let tokenizer = TokenizerFiles::read(&ModelSource::of(folder).tokenizer()?)?;
    let [saved, merged] = ["saved", "merged"].map(|name| output.join(name));
    std::fs::create_dir_all(&saved)?;
    polymath_model::save(&saved, &model, &tokenizer)?;
    if polymath_model::is_adapter(folder) {
        std::fs::create_dir_all(&merged)?;
        let source = ModelSource::of(folder);
        let (config, weights) = (source.config()?, source.weights()?);
        polymath_model::save_weights(&merged, &config, weights, &tokenizer)?;
    }
    Ok(())
}

/// Loads the folder as training does: an adapter is kept separate from its base, and only the adapter is trainable.
fn load(folder: &Path) -> Result<Transformer, ModelError> {
    let ops = Ops::fused(Precision::F32);
    let mut options = LoadOptions::trained(&Device::Cpu, ops);
    if !polymath_model::is_adapter(folder) {
        return polymath_model::load(folder, &options);
    }
    options.trainable = &|name| name.contains(".lora_");
    let adapter = polymath_model::load_adapter(folder, None)?;
    let config = polymath_model::load_config(folder)?;
    let weights = polymath_model::load_weights(&adapter.base.folder)?;
    Transformer::with_adapter(config, weights, adapter, &options)
}

fn run(model: &Transformer, ids: &[u32]) -> Result<BTreeMap<String, Tensor>, Box<dyn Error>> {
    let length = ids.len() - 1;
    let batch = Batch {
        input_ids: ids[..length].to_vec(),
        targets: ids[1..].to_vec(),
        document_starts: vec![0; length],
        rows: 1,
        domains: vec![0; 1],
    };
    let logits = model.logits(&batch)?;
    let loss = (model.loss(&batch)? / length as f64)?;
    let gradients = loss.backward()?;
    let mut found: BTreeMap<String, Tensor> = BTreeMap::new();
    for (name, parameter) in model.trainable() {
        if let Some(gradient) = gradients.get(parameter) {
            found.insert(name.clone(), gradient.contiguous()?);
        }
    }
    let logits = logits.reshape((length, model.config().vocab_size))?;
    found.insert("logits".into(), logits.contiguous()?);
    found.insert("loss".into(), loss.to_dtype(DType::F32)?);
    let greedy = SamplingConfig {
        temperature: 0.0,
        top_k: None,
        top_p: 1.0,
        repetition_penalty: 1.0,
        seed: 0,
    };
    let text = Generation::new(model, &ids[..ids.len() / 2], greedy)?.take(CONTINUED);
    let text = text.map(|token| token.map(i64::from));
    let text: Vec<i64> = text.collect::<Result<_, _>>()?;
    let count = text.len();
    found.insert(
        "greedy".into(),
        Tensor::from_vec(text, count, &Device::Cpu)?,
    );
    Ok(found)
}
