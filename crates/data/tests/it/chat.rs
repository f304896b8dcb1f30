//! Tests of conversations, from `messages` through a chat template to the stored tokens.

use std::path::PathBuf;

use polymath_data::{DataError, Dataset, Split, TokenizerConfig};
use tokenizers::{AddedToken, Tokenizer};

use crate::support::desk::{Desk, sentences};

/// Chat template that tests whether tools and documents are given, as many templates do, although none are.
const TEMPLATE: &str = "{%- if tools is not none or tools is iterable or documents is not none %}\n\
    {{- raise_exception('not none') }}\n\
    {%- endif %}\n\
    {%- for message in messages %}\n\
    {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}\n\
    {%- endfor %}\n";

/// Returns a workspace, and a tokenizer with special tokens and a chat template.
fn desk() -> (Desk, PathBuf) {
    let mut desk = Desk::new();
    desk.file("text.jsonl", sentences("user", 60));
    desk.domain("text", &["text.jsonl"]);
    let trained = desk.prepare().unwrap();
    let mut tokenizer = Tokenizer::from_file(trained.tokenizer_path()).unwrap();
    let special = ["<|im_start|>", "<|im_end|>"].map(|token| AddedToken::from(token, true));
    tokenizer.add_special_tokens(special).unwrap();
    let path = desk.folder.path().join("model/tokenizer.json");
    desk.file("model/chat_template.jinja", TEMPLATE);
    tokenizer.save(&path, false).unwrap();
    desk.config.output = desk.folder.path().join("chat");
    desk.config.tokenizer = TokenizerConfig {
        path: Some(path.clone()),
        eos_token: Some("<|im_end|>".into()),
        ..TokenizerConfig::default()
    };
    desk.config.domains.clear();
    (desk, path)
}

fn conversations(count: usize, turns: usize) -> String {
    let line = |number: usize| {
        let turns = (0..turns).map(|turn| {
            format!(
                r#"{{"role": "user", "content": "q{number} {turn} <|im_end|>"}},
                   {{"role": "assistant", "content": "a{number} {turn}."}}"#
            )
            .replace('\n', "")
        });
        format!(
            "{{\"messages\": [{}]}}\n",
            turns.collect::<Vec<_>>().join(",")
        )
    };
    (0..count).map(line).collect()
}

/// Returns, for each document of both splits, the whole text, the scored text and the scored bytes.
fn stored(dataset: &Dataset, tokenizer: &Tokenizer) -> Vec<(String, String, u64)> {
    let mut found = Vec::new();
    for split in [Split::Train, Split::Heldout] {
        let shard = dataset.shard("chat", split).unwrap();
        for index in 0..shard.documents() {
            let document = shard.document(index);
            let (mut tokens, mut mask) = (Vec::new(), Vec::new());
            document.copy_tokens(0..document.len(), &mut tokens);
            mask.extend((0..document.len()).map(|at| document.scored(at)));
            let scored = tokens.iter().zip(&mask).filter(|pair| *pair.1);
            let scored: Vec<u32> = scored.map(|pair| *pair.0).collect();
            let decode = |tokens: &[u32]| tokenizer.decode(tokens, false).unwrap();
            found.push((decode(&tokens), decode(&scored), document.bytes));
        }
    }
    found.sort();
    found
}

/// Checks that messages are rendered by the template; that answers are learned together with their end token, and
/// only the answers' bytes are counted; and that text in a message that looks like a special token is plain text.
#[test]
fn conversations_are_rendered_by_the_template() {
    let (mut desk, path) = desk();
    desk.file("chat.jsonl", conversations(20, 2));
    desk.domain("chat", &["chat.jsonl"]);
    let dataset = desk.prepare().unwrap();
    let tokenizer = Tokenizer::from_file(path).unwrap();
    let stored = stored(&dataset, &tokenizer);
    assert_eq!(stored.len(), 20);
    let (text, scored, bytes) = &stored[0];
    assert_eq!(
        text,
        "<|im_start|>user\nq0 0 <|im_end|><|im_end|>\n<|im_start|>assistant\na0 0.<|im_end|>\n\
         <|im_start|>user\nq0 1 <|im_end|><|im_end|>\n<|im_start|>assistant\na0 1.<|im_end|>"
    );
    assert_eq!(scored, "a0 0.<|im_end|>a0 1.<|im_end|>");
    assert_eq!(*bytes, 10);
    // Ten tokens are special; the `<|im_end|>` in the user's message is plain text.
    let shard = dataset.shard("chat", Split::Train).unwrap();
    let mut tokens = Vec::new();
    let document = shard.document(0);
    document.copy_tokens(0..document.len(), &mut tokens);
    let specials =
        ["<|im_start|>", "<|im_end|>"].map(|token| tokenizer.token_to_id(token).unwrap());
    let count = tokens
        .iter()
        .filter(|token| specials.contains(token))
        .count();
    assert_eq!(count, 8);
}

/// Checks that a conversation that is too long loses whole turns, that one of which no turn fits is dropped, and that
/// both are counted.
#[test]
fn long_conversations_lose_whole_turns() {
    let (mut desk, path) = desk();
    let endless = |answer: &str| {
        let question = "q ".repeat(200);
        let messages = [("user", &*question), ("assistant", answer)];
        let messages =
            messages.map(|(role, content)| serde_json::json!({"role": role, "content": content}));
        serde_json::json!({ "messages": messages }).to_string() + "\n"
    };
    let talks = conversations(20, 4) + &endless("first") + &endless("second");
    desk.file("chat.jsonl", talks);
    desk.domain("chat", &["chat.jsonl"]).longest_conversation = Some(120);
    let dataset = desk.prepare().unwrap();
    let stored = stored(&dataset, &Tokenizer::from_file(path).unwrap());
    let turns: usize = stored
        .iter()
        .map(|(_, scored, _)| scored.matches("<|im_end|>").count())
        .sum();
    let manifest = &dataset.manifest().domains["chat"];
    let dropped = manifest.train.turns_dropped + manifest.heldout.turns_dropped;
    assert!(dropped > 0 && turns > 0);
    assert_eq!(turns as u64 + dropped, 82);
    let whole = manifest.train.conversations_dropped + manifest.heldout.conversations_dropped;
    assert_eq!((stored.len(), whole), (20, 2));
    assert!(
        stored
            .iter()
            .all(|(text, ..)| text.ends_with(".<|im_end|>"))
    );
}

/// Checks that another template gives another dataset.
#[test]
fn the_template_is_part_of_the_dataset() {
    let (mut desk, path) = desk();
    desk.file("chat.jsonl", conversations(20, 1));
    desk.domain("chat", &["chat.jsonl"]);
    desk.prepare().unwrap();
    std::fs::write(
        path.with_file_name("chat_template.jinja"),
        TEMPLATE.replace("\\n", " "),
    )
    .unwrap();
    let error = desk.prepare().unwrap_err();
    assert!(matches!(error, DataError::Content { .. }), "{error}");
}
