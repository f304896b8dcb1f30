//! Test that conversations have the tokens and the loss mask that `transformers` gives them.
//! `apply_chat_template.json` holds its results for tokenizers of each kind and templates of our own (made by
//! `scripts/check/chat.sh --freeze`, with transformers 5.24).

use polymath_data::{Split, TokenizerConfig};
use serde_json::{Value, json};

use crate::support::desk::Desk;

/// Checks every conversation with every pair of a tokenizer and a template.
#[test]
fn conversations_have_the_tokens_of_transformers() {
    let frozen: Value = serde_json::from_str(include_str!("../apply_chat_template.json")).unwrap();
    let talks = frozen["talks"].as_array().unwrap();
    let mut compared = 0;
    for (kind, tokenizer) in frozen["tokenizers"].as_object().unwrap() {
        for (name, template) in frozen["templates"].as_object().unwrap() {
            let mut desk = Desk::new();
            desk.file("model/tokenizer.json", tokenizer.to_string());
            desk.file("model/chat_template.jinja", template.as_str().unwrap());
            let names = json!({"bos_token": "<bos>", "eos_token": "<eos>"});
            desk.file("model/tokenizer_config.json", names.to_string());
            let lines = |talks: &[Value]| -> String {
                let line = |talk: &Value| json!({"messages": talk}).to_string() + "\n";
                talks.iter().map(line).collect()
            };
            desk.file("held.jsonl", lines(talks));
            let other =
                json!([{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]);
            desk.file("chat.jsonl", lines(&[other]));
            desk.config.tokenizer = TokenizerConfig {
                path: Some(desk.folder.path().join("model/tokenizer.json")),
                ..TokenizerConfig::default()
            };
            let held = desk.folder.path().join("held.jsonl").display().to_string();
            desk.domain("chat", &["chat.jsonl"]).heldout_paths = vec![held];
            let dataset = desk.prepare().unwrap();
            let shard = dataset.shard("chat", Split::Heldout).unwrap();
            let wanted = frozen["expected"][kind][name].as_array().unwrap();
            assert_eq!(shard.documents(), wanted.len());
            for (index, wanted) in wanted.iter().enumerate() {
                let document = shard.document(index);
                let mut tokens = Vec::new();
                document.copy_tokens(0..document.len(), &mut tokens);
                let scored: Vec<u8> = (0..document.len())
                    .map(|at| u8::from(document.scored(at)))
                    .collect();
                let found = json!({"tokens": tokens, "scored": scored});
                assert_eq!(&found, wanted, "{kind}, {name}, conversation {index}");
                compared += 1;
            }
        }
    }
    assert_eq!(compared, 8 * 6 * 3);
}
