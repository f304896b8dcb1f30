//! A small tokenizer to complete model folders in tests.

use std::collections::HashMap;
use std::path::Path;

use polymath_model::TokenizerFiles;

/// Writes a tokenizer of 97 tokens, enough to complete a folder.
pub fn write_tokenizer(folder: &Path) -> TokenizerFiles {
    let tokenizer = folder.join("tokenizer.json");
    let vocabulary: HashMap<String, usize> = (0..97).map(|id| (format!("t{id}"), id)).collect();
    let json = serde_json::json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
        "normalizer": null, "pre_tokenizer": {"type": "WhitespaceSplit"}, "post_processor": null,
        "decoder": null,
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "t0"},
    });
    std::fs::write(&tokenizer, json.to_string()).unwrap();
    TokenizerFiles::read(&tokenizer).unwrap()
}
