//! Tests of datasets in the tokens of a model with another tokenizer.

use std::path::{Path, PathBuf};

use polymath_data::{
    Dataset, EndTokens, ExtendedTokenizer, NewTokens, ScoringBatches, ScoringOptions, Split,
    TokenShard, TokenizerConfig,
};
use serde_json::json;
use tokenizers::{AddedToken, Tokenizer};

use crate::support::desk::{Desk, sentences};

const ENDS: EndTokens = EndTokens { begin: 0, end: 0 };

/// Creates a workspace with plain text with multi-byte characters, and prompts.
fn desk() -> Desk {
    let mut desk = Desk::new();
    let mut text = sentences("naïve rose", 120);
    text += &sentences("中文 🙂", 60);
    desk.file("text.jsonl", text);
    desk.domain("text", &["text.jsonl"]);
    let asked = |number: usize| {
        let response = format!("{} and a rose", number * 31);
        json!({"prompt": format!("say {number}"), "response": response}).to_string() + "\n"
    };
    desk.file("asked.jsonl", (0..80).map(asked).collect::<String>());
    desk.domain("asked", &["asked.jsonl"]);
    desk
}

/// Trains a tokenizer on other text.
fn other_tokenizer(folder: &Path) -> PathBuf {
    let mut other = Desk::new();
    other.file("text.jsonl", sentences("sub rosa, 中 said", 200));
    other.domain("text", &["text.jsonl"]);
    other.config.tokenizer.vocab_size = Some(340);
    let path = folder.join("other.json");
    std::fs::copy(other.prepare().unwrap().tokenizer_path(), &path).unwrap();
    path
}

/// Returns the tokens, loss mask and scored bytes of every document in a shard.
fn documents(shard: &TokenShard) -> Vec<(Vec<u32>, Vec<bool>, u64)> {
    (0..shard.documents())
        .map(|index| {
            let document = shard.document(index);
            let mut tokens = Vec::new();
            document.copy_tokens(0..document.len(), &mut tokens);
            let scored = (0..document.len()).map(|at| document.scored(at)).collect();
            (tokens, scored, document.bytes)
        })
        .collect()
}

fn decoded(path: &Path, tokens: &[u32]) -> String {
    let tokenizer = Tokenizer::from_file(path).unwrap();
    tokenizer.decode(tokens, false).unwrap()
}

/// Checks that retokenizing gives exactly the tokens of a dataset prepared with the other tokenizer, including
/// prompts, and that splits and document selection stay those of the stored shard.
#[test]
fn retokenized_shards_match_prepared_ones() {
    let mut desk = desk();
    let stored = desk.prepare().unwrap();
    let path = other_tokenizer(desk.folder.path());
    desk.config.output = desk.folder.path().join("again");
    desk.config.tokenizer = TokenizerConfig {
        path: Some(path.clone()),
        ..TokenizerConfig::default()
    };
    let expected = desk.prepare().unwrap();
    let reading = stored.read_by(&path, ENDS).unwrap();
    assert!(reading.is_translated());
    for domain in ["text", "asked"] {
        for split in [Split::Train, Split::Heldout] {
            let found = reading.shard(domain, split).unwrap();
            let expected = expected.shard(domain, split).unwrap();
            assert_eq!(
                documents(&found),
                documents(&expected),
                "{domain} {split:?}"
            );
            let own = stored.shard(domain, split).unwrap();
            for index in 0..own.documents() {
                assert_eq!(found.split_of(index), own.split_of(index));
            }
            let same = (0..own.documents()).filter(|index| found.has_stored_tokens(*index));
            assert!(same.count() < own.documents() / 2);
            let options = ScoringOptions {
                rows: 2,
                sequence_length: 64,
                stride: None,
                bos_token_id: 0,
                max_tokens: Some(150),
                seed: 0,
                split: None,
            };
            let chosen = ScoringBatches::new(&found, options);
            assert_eq!(
                chosen.documents(),
                ScoringBatches::new(&own, options).documents()
            );
        }
    }
    let own = stored.read_by(&stored.tokenizer_path(), ENDS).unwrap();
    assert!(!own.is_translated());
    let shard = own.shard("text", Split::Heldout).unwrap();
    assert!(shard.has_stored_tokens(0));
}

/// Checks that added tokens change the tokens of a text only where a new one occurs, that the text is detokenized
/// exactly, and that the dataset fits the extended tokenizer but not others.
#[test]
fn extended_tokenizers_read_new_tokens() {
    let desk = desk();
    let stored = desk.prepare().unwrap();
    let new = NewTokens {
        ordinary: vec![" and a rose".into(), "文 🙂".into()],
        special: vec!["<|tool|>".into()],
    };
    let before = stored.tokenizer_path();
    let extended = ExtendedTokenizer::new(&before, &new).unwrap();
    let path = desk.folder.path().join("extended.json");
    std::fs::write(&path, &extended.json).unwrap();
    let reading = stored.read_by(&path, ENDS).unwrap();
    let (first, second) = (extended.known as u32, extended.known as u32 + 1);
    for domain in ["text", "asked"] {
        let own = documents(&stored.shard(domain, Split::Train).unwrap());
        let found = documents(&reading.shard(domain, Split::Train).unwrap());
        for ((tokens, _, bytes), (after, marks, same)) in own.iter().zip(&found) {
            let text = decoded(&before, tokens);
            assert_eq!((&text, bytes), (&decoded(&path, after), same));
            let scored = after.iter().zip(marks).filter(|pair| *pair.1);
            let scored: Vec<u32> = scored.map(|pair| *pair.0).collect();
            let count = |token| scored.iter().filter(|other| **other == token).count();
            assert_eq!(count(first), text.matches(" and a rose").count());
            assert_eq!(count(second), text.matches("文 🙂").count());
            if count(first) + count(second) == 0 {
                assert_eq!(tokens, after);
            }
        }
    }
    stored.check_fits(&path, ENDS).unwrap();
    let other = other_tokenizer(desk.folder.path());
    let error = stored.check_fits(&other, ENDS).unwrap_err().to_string();
    assert!(error.contains("another tokenizer"), "{error}");
    let error = stored
        .check_fits(&path, EndTokens { begin: 0, end: 1 })
        .unwrap_err()
        .to_string();
    assert!(error.contains("begin and end"), "{error}");
}

/// Checks that special tokens from a chat template stay special if the other tokenizer has them and become text if
/// not, and that answers and their end tokens stay scored.
#[test]
fn conversations_are_read_turn_by_turn() {
    let mut desk = desk();
    let plain = desk.prepare().unwrap().tokenizer_path();
    let mut tokenizer = Tokenizer::from_file(&plain).unwrap();
    let special = ["<|im_start|>", "<|im_end|>"].map(|token| AddedToken::from(token, true));
    tokenizer.add_special_tokens(special).unwrap();
    let path = desk.folder.path().join("model/tokenizer.json");
    desk.file(
        "model/chat_template.jinja",
        "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% endfor %}",
    );
    tokenizer.save(&path, false).unwrap();
    let talk = |number: usize| {
        let said = |role: &str, content: String| json!({"role": role, "content": content});
        let messages = [
            said("user", format!("Who is {number}? <|im_end|>")),
            said("assistant", format!("a rose {number}")),
        ];
        json!({"messages": messages}).to_string() + "\n"
    };
    desk.file("chat.jsonl", (0..40).map(talk).collect::<String>());
    desk.config.domains.clear();
    desk.domain("chat", &["chat.jsonl"]);
    desk.config.output = desk.folder.path().join("chat");
    desk.config.tokenizer = TokenizerConfig {
        path: Some(path.clone()),
        eos_token: Some("<|im_end|>".into()),
        ..TokenizerConfig::default()
    };
    let stored = desk.prepare().unwrap();
    let own = documents(&stored.shard("chat", Split::Train).unwrap());
    let new = NewTokens {
        ordinary: vec!["a rose".into()],
        special: Vec::new(),
    };
    let extended = ExtendedTokenizer::new(&path, &new).unwrap();
    let longer = desk.folder.path().join("extended.json");
    std::fs::write(&longer, &extended.json).unwrap();
    let end = tokenizer.token_to_id("<|im_end|>").unwrap();
    for (reader, end) in [(&longer, end), (&plain, 0)] {
        let reading = stored.read_by(reader, EndTokens { begin: 0, end }).unwrap();
        let found = documents(&reading.shard("chat", Split::Train).unwrap());
        assert_eq!(found.len(), own.len());
        for ((tokens, marks, bytes), (after, after_marks, same)) in own.iter().zip(&found) {
            assert_eq!(bytes, same);
            // The two tokenizers name their end tokens differently.
            let text =
                |path: &Path, tokens: &[u32], marks: &[bool], wanted: &dyn Fn(bool) -> bool| {
                    let kept = tokens.iter().zip(marks).filter(|pair| wanted(*pair.1));
                    let kept: Vec<u32> = kept.map(|pair| *pair.0).collect();
                    decoded(path, &kept[..kept.len() - 1])
                };
            for wanted in [&(|_| true) as &dyn Fn(bool) -> bool, &|scored| scored] {
                assert_eq!(
                    text(&path, tokens, marks, wanted),
                    text(reader, after, after_marks, wanted)
                );
            }
            assert_eq!(after.last(), Some(&end));
            assert_eq!(after_marks.last(), Some(&true));
        }
    }
}

fn words(folder: &Path) -> PathBuf {
    let names = ["</s>", "[UNK]", "▁the", "▁rose", "▁is", "▁red"];
    let vocabulary: serde_json::Map<String, serde_json::Value> = (0..)
        .zip(names)
        .map(|(id, name)| (name.to_owned(), json!(id)))
        .collect();
    let spaces =
        json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true});
    let end = json!({
        "id": 0, "content": "</s>", "single_word": false, "lstrip": false, "rstrip": false,
        "normalized": false, "special": true
    });
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [end],
        "normalizer": null, "pre_tokenizer": spaces, "post_processor": null, "decoder": spaces,
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "[UNK]"}
    });
    let path = folder.join("words.json");
    std::fs::write(&path, tokenizer.to_string()).unwrap();
    path
}

fn of_words(desk: &mut Desk, name: &str, text: &str) -> Dataset {
    desk.file(&format!("{name}.jsonl"), text);
    desk.config.domains.clear();
    desk.domain("words", &[&format!("{name}.jsonl")]);
    desk.config.output = desk.folder.path().join(name);
    desk.config.tokenizer = TokenizerConfig {
        path: Some(words(desk.folder.path())),
        ..TokenizerConfig::default()
    };
    desk.prepare().unwrap()
}

/// Checks that a space that a tokenizer adds before every text is not part of the text, and that tokens that do not
/// detokenize to their text are refused.
#[test]
fn text_comes_back_as_it_was_or_not_at_all() {
    let mut desk = desk();
    let plain = desk.prepare().unwrap().tokenizer_path();
    let line = |number: usize| {
        let text = "the rose is red".to_owned() + &" the rose is red".repeat(number);
        json!({ "text": text }).to_string() + "\n"
    };
    let lines: String = (0..40).map(line).collect();
    let stored = of_words(&mut desk, "known", &lines);
    let reading = stored.read_by(&plain, ENDS).unwrap();
    let shard = reading.shard("words", Split::Train).unwrap();
    for (tokens, _, bytes) in documents(&shard) {
        let text = decoded(&plain, &tokens[..tokens.len() - 1]);
        assert!(text.starts_with("the rose is red"), "{text}");
        assert_eq!(text.len() as u64, bytes);
    }
    let stored = of_words(&mut desk, "unknown", &lines.replace("is red", "is violet"));
    let reading = stored.read_by(&plain, ENDS).unwrap();
    let error = reading
        .shard("words", Split::Train)
        .unwrap_err()
        .to_string();
    assert!(error.contains("do not give its text back"), "{error}");
}
