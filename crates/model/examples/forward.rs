//! A checkpoint's logits and gradients on given tokens, for other programs to compare with: `scripts/check-families.sh`.
//!
//! `cargo run --release --example forward -- <folder> <tokens.json> <output folder>` reads one list of token ids, and writes
//! `forward.safetensors` (`logits`: (tokens − 1, vocabulary); the gradient of the mean loss of each next token, by parameter)
//! and the checkpoint again, as this program saves it.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::PathBuf;

use candle_core::{Device, Tensor};
use polymath_model::{LoadOptions, Ops, Precision, TokenBatch, TokenizerFiles};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<PathBuf> = std::env::args().skip(1).map(PathBuf::from).collect();
    let [folder, tokens, output] = &arguments[..] else {
        return Err("usage: forward <folder> <tokens.json> <output folder>".into());
    };
    let ids: Vec<u32> = serde_json::from_str(&std::fs::read_to_string(tokens)?)?;
    let ops = Ops::for_device(&Device::Cpu, Precision::F32);
    let model = polymath_model::load(folder, &LoadOptions::trained(&Device::Cpu, ops))?;
    let length = ids.len() - 1;
    let batch = TokenBatch {
        input_ids: ids[..length].to_vec(),
        targets: ids[1..].to_vec(),
        document_starts: vec![0; length],
        rows: 1,
    };
    let logits = model.logits(&batch)?;
    let logits = logits.reshape((length, model.config().vocab_size))?;
    let gradients = (model.loss(&batch)? / length as f64)?.backward()?;
    let mut found: BTreeMap<String, Tensor> = BTreeMap::new();
    for (name, parameter) in model.trainable() {
        if let Some(gradient) = gradients.get(parameter) {
            found.insert(name.clone(), gradient.contiguous()?);
        }
    }
    found.insert("logits".into(), logits.contiguous()?);
    std::fs::create_dir_all(output)?;
    safetensors::serialize_to_file(&found, None, &output.join("forward.safetensors"))?;
    let tokenizer = TokenizerFiles {
        tokenizer: polymath_model::tokenizer_in(folder)?,
    };
    let saved = output.join("saved");
    std::fs::create_dir_all(&saved)?;
    polymath_model::save(&saved, &model, &tokenizer)?;
    Ok(())
}
