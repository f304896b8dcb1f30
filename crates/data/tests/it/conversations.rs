//! Tests of the layouts of conversations: each gives the same tokens as the same conversation in `messages`.

use polymath_data::{FieldNames, PairForm, RecordNotes, TokenizerConfig};
use tokenizers::{AddedToken, Tokenizer};

use crate::support::desk::{Desk, sentences};
use crate::support::documents::{each, notes, stored};

/// Creates a workspace whose tokenizer has a chat template that writes tools and tool calls.
fn chat_desk() -> Desk {
    let mut desk = Desk::new();
    desk.file("text.jsonl", sentences("user", 60));
    desk.domain("text", &["text.jsonl"]);
    let trained = desk.prepare().unwrap();
    let mut tokenizer = Tokenizer::from_file(trained.tokenizer_path()).unwrap();
    let special = ["<|im_start|>", "<|im_end|>"].map(|token| AddedToken::from(token, true));
    tokenizer.add_special_tokens(special).unwrap();
    desk.file(
        "model/chat_template.jinja",
        "{% for t in tools or [] %}{{ t | tojson }}{% endfor %}{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + \
         m.content }}{% for c in m.tool_calls or [] %}{{ c | tojson }}{% endfor %}{{ '<|im_end|>' }}{% endfor %}",
    );
    let path = desk.folder.path().join("model/tokenizer.json");
    tokenizer.save(&path, false).unwrap();
    desk.config.tokenizer = TokenizerConfig {
        path: Some(path),
        eos_token: Some("<|im_end|>".into()),
        ..TokenizerConfig::default()
    };
    desk.config.domains.clear();
    desk
}

/// Token IDs of a document, and its loss mask.
type Tokens = (Vec<u32>, Vec<bool>);

/// Prepares one file; returns its documents, without their sources, and its notes.
fn prepared(desk: &mut Desk, name: &str, content: &str) -> (Vec<Tokens>, RecordNotes) {
    desk.file(name, content);
    desk.config.output = desk.folder.path().join(format!("of-{name}"));
    desk.config.domains.clear();
    desk.domain("chat", &[name]);
    let dataset = desk.prepare().unwrap();
    let documents = stored(&dataset, "chat").into_iter();
    let documents = documents
        .map(|(tokens, scored, _)| (tokens, scored))
        .collect();
    (documents, notes(&dataset, "chat").clone())
}

/// Checks that `pairs = "chat"` gives prompts and responses, with and without a system prompt, and instructions with
/// their inputs the tokens of the equal `messages`.
#[test]
fn pairs_as_a_chat_have_the_tokens_of_messages() {
    let mut desk = chat_desk();
    let system = r#"{"role": "system", "content": "Be kind."}, "#;
    let messages = |system: &str, between: &str| {
        let one = |n: usize| {
            format!(
                r#"{{"messages": [{system}{{"role": "user", "content": "Say {n}.{between}"}}, {{"role": "assistant", "content": "It is {n}!"}}]}}"#
            )
        };
        each(12, one).join("\n")
    };
    let (alone, _) = prepared(&mut desk, "alone.jsonl", &messages("", ""));
    let (after_system, _) = prepared(&mut desk, "system.jsonl", &messages(system, ""));
    let (with_input, _) = prepared(&mut desk, "input.jsonl", &messages("", "\\nIn words."));
    let mut of_pairs = |name: &str, records: Vec<String>, fields: Option<FieldNames>| {
        desk.file(name, records.join("\n"));
        desk.config.output = desk.folder.path().join(format!("of-{name}"));
        desk.config.domains.clear();
        let domain = desk.domain("chat", &[name]);
        domain.pairs = Some(PairForm::Chat);
        domain.fields = fields;
        let dataset = desk.prepare().unwrap();
        assert_eq!(notes(&dataset, "chat").templated, 12, "{name}");
        assert_eq!(notes(&dataset, "chat").pairs, 0, "{name}");
        let documents = stored(&dataset, "chat").into_iter();
        documents
            .map(|(tokens, scored, _)| (tokens, scored))
            .collect::<Vec<_>>()
    };
    let pairs = each(12, |n| {
        format!(r#"{{"prompt": "Say {n}.", "response": "It is {n}!"}}"#)
    });
    assert_eq!(of_pairs("pairs.jsonl", pairs, None), alone);
    let rows = [
        vec!["prompt,completion".to_owned()],
        each(12, |n| format!("Say {n}.,It is {n}!")),
    ];
    assert_eq!(of_pairs("pairs.csv", rows.concat(), None), alone);
    let instructions = each(12, |n| {
        format!(r#"{{"instruction": "Say {n}.", "input": "In words.", "output": "It is {n}!"}}"#)
    });
    assert_eq!(of_pairs("alpaca.jsonl", instructions, None), with_input);
    let named = each(12, |n| {
        format!(r#"{{"ask": "Say {n}.", "say": "It is {n}!", "first": "Be kind."}}"#)
    });
    let fields = FieldNames {
        prompt: Some("ask".into()),
        response: Some("say".into()),
        system: Some("first".into()),
        ..FieldNames::default()
    };
    assert_eq!(of_pairs("named.jsonl", named, Some(fields)), after_system);
}

/// Checks that ShareGPT's conversations, and conversations with a separate system prompt or with content in parts,
/// have the same tokens as the equal `messages`.
#[test]
fn conversations_have_the_tokens_of_messages() {
    let mut desk = chat_desk();
    let messages = each(12, |n| {
        format!(
            r#"{{"messages": [{{"role": "system", "content": "Be {n}."}}, {{"role": "user", "content": "q{n}\nmore"}}, {{"role": "assistant", "content": "a{n}"}}], "tools": [{{"z": 1, "a": {n}}}]}}"#
        )
    });
    let (expected, usual) = prepared(&mut desk, "messages.jsonl", &messages.join("\n"));
    assert_eq!(expected.len(), 12);
    assert!(expected.iter().all(|(_, scored)| scored.contains(&true)));
    let share_gpt = each(12, |n| {
        format!(
            r#"{{"id": "x", "tools": "[{{\"z\": 1, \"a\": {n}}}]", "system": "Be {n}.", "conversations": [{{"from": "human", "value": "q{n}\nmore"}}, {{"from": "gpt", "value": "a{n}"}}]}}"#
        )
    });
    let (found, said) = prepared(
        &mut desk,
        "sharegpt.json",
        &format!("[{}]", share_gpt.join(",\n")),
    );
    assert_eq!(found, expected);
    assert_eq!(said.renamed_roles["gpt"], 12);
    assert_eq!(said.unused_keys.keys().collect::<Vec<_>>(), ["id"]);
    assert_eq!(said.read_by["conversations`, `system"], 12);
    let parts = each(12, |n| {
        messages[n].replace(
            &format!(r#""q{n}\nmore""#),
            &format!(r#"[{{"type": "text", "text": "q{n}"}}, {{"type": "text", "text": "more"}}]"#),
        )
    });
    let (found, said) = prepared(&mut desk, "parts.jsonl", &parts.join("\n"));
    assert_eq!((found, said), (expected.clone(), usual));
    // The same with field names from the config.
    let named = each(12, |n| {
        messages[n]
            .replace("messages", "dialog")
            .replace("role", "who")
            .replace("content", "said")
    });
    desk.file("named.jsonl", named.join("\n"));
    desk.config.output = desk.folder.path().join("named");
    desk.config.domains.clear();
    let name = |name: &str| Some(name.to_owned());
    desk.domain("chat", &["named.jsonl"]).fields = Some(FieldNames {
        messages: name("dialog"),
        role: name("who"),
        content: name("said"),
        ..FieldNames::default()
    });
    let dataset = desk.prepare().unwrap();
    let found = stored(&dataset, "chat").into_iter();
    assert_eq!(
        found.map(|found| (found.0, found.1)).collect::<Vec<_>>(),
        expected
    );
}

/// Checks that a tool call needs no text, that the tool's result is in the text, and that calls which the template
/// writes are reported as not learned.
#[test]
fn tool_calls_are_rendered() {
    let mut desk = chat_desk();
    let record = |content: &str| {
        let records = each(8, |n| {
            format!(
                r#"{{"messages": [{{"role": "user", "content": "q{n}"}}, {{"role": "assistant", {content}"tool_calls": [{{"name": "f", "arguments": {{"n": {n}}}}}]}}, {{"role": "tool", "content": "r{n}"}}, {{"role": "assistant", "content": "a{n}"}}]}}"#
            )
        });
        records.join("\n")
    };
    let (empty, said) = prepared(&mut desk, "empty.jsonl", &record(r#""content": "", "#));
    assert_eq!(said.unscored_calls, 8);
    assert!(
        said.lines().join("\n").contains("answers with tool calls"),
        "{said:?}"
    );
    let tokenizer = Tokenizer::from_file(desk.folder.path().join("model/tokenizer.json")).unwrap();
    let text = tokenizer.decode(&empty[0].0, false).unwrap();
    assert!(
        text.contains(
            r#"assistant
{"name": "f", "arguments": {"n": "#
        ),
        "{text}"
    );
    for (name, content) in [("null.jsonl", r#""content": null, "#), ("none.jsonl", "")] {
        assert_eq!(
            prepared(&mut desk, name, &record(content)).0,
            empty,
            "{name}"
        );
    }
}
