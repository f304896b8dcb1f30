//! Tiny models with a byte-level tokenizer.

use std::path::Path;

use candle_core::Device;
use polymath_chat::ChatModel;
use polymath_model::{
    ArchitectureConfig, EndTokens, LoadOptions, ModelSource, Ops, Precision, TokenizerFiles,
    Transformer,
};
use serde_json::{Value, json};

/// Names of the special tokens, which follow the 256 bytes in the vocabulary.
const SPECIAL: [&str; 3] = ["<|begin|>", "<|end|>", "<|turn|>"];

/// Chat template that ends each turn with a token.
pub const TEMPLATE: &str = "{{ bos_token }}{% for m in messages %}{{ m.role + ':' + m.content + '<|turn|>' }}\
    {% endfor %}{% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}";

/// Returns the character that stands for a byte in a byte-level vocabulary.
fn letter(byte: u8) -> String {
    let code = u32::from(byte);
    let letter = match byte {
        0..=32 => 0x100 + code,
        127..=160 => 0x100 + 33 + code - 127,
        173 => 0x100 + 33 + 34,
        _ => code,
    };
    char::from_u32(letter).unwrap().to_string()
}

fn tokenizer() -> Value {
    let vocab: serde_json::Map<String, Value> = (0..=255u8)
        .map(letter)
        .zip(0..)
        .map(|(name, id)| (name, json!(id)))
        .collect();
    let added: Vec<Value> = SPECIAL
        .iter()
        .zip(256..)
        .map(|(content, id)| {
            json!({
                "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": true
            })
        })
        .collect();
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added, "normalizer": null,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false},
        "post_processor": null,
        "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false},
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "vocab": vocab, "merges": []
        }
    })
}

/// Writes a model with random weights to `folder` and opens it. `shape` overrides keys of its `config.json`.
pub fn model(folder: &Path, template: Option<&str>, shape: Value) -> ChatModel {
    let mut all = json!({
        "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "initializer_range": 0.4
    });
    for (key, value) in shape.as_object().unwrap() {
        all[key] = value.clone();
    }
    let shape: ArchitectureConfig = serde_json::from_value(all).unwrap();
    let config = shape
        .resolve(
            259,
            640,
            EndTokens {
                begin: 256,
                end: 257,
            },
        )
        .unwrap();
    let options = LoadOptions::frozen(&Device::Cpu, Ops::fused(Precision::F32));
    let made = Transformer::initialize(config, 3, &options).unwrap();
    let beside = folder.join("tokenizer");
    std::fs::create_dir_all(&beside).unwrap();
    let path = beside.join("tokenizer.json");
    std::fs::write(&path, tokenizer().to_string()).unwrap();
    let files = TokenizerFiles::read(&path).unwrap();
    let place = folder.join("model");
    std::fs::create_dir_all(&place).unwrap();
    polymath_model::save(&place, &made, &files).unwrap();
    if let Some(template) = template {
        std::fs::write(place.join("chat_template.jinja"), template).unwrap();
    }
    ChatModel::open(ModelSource::of(&place), &options).unwrap()
}
