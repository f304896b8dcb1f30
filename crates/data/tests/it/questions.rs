//! Tests of the questions of a domain.

use std::fs;
use std::path::PathBuf;

use crate::support::desk::{Desk, sentences};

/// Checks that questions are copied and read back unchanged.
#[test]
fn questions_come_along() {
    let mut desk = Desk::new();
    desk.file("a.jsonl", sentences("Bird", 60));
    let path = desk.file(
        "q.jsonl",
        "{\"prompt\": \"1+1=\", \"answer\": \"2\"}\n\n{\"prompt\": \"2+2=\", \"answer\": \"4\"}\n",
    );
    desk.domain("birds", &["a.jsonl"]).questions = Some(PathBuf::from(path));
    let dataset = desk.prepare().unwrap();
    let questions = dataset.questions("birds").unwrap();
    assert_eq!(questions.len(), 2);
    assert_eq!(
        (questions[1].prompt.as_str(), questions[1].answer.as_str()),
        ("2+2=", "4")
    );
    assert!(
        dataset
            .questions("fish")
            .unwrap_err()
            .to_string()
            .contains("which has `birds`")
    );
}

/// Checks that questions of a domain of prompts and responses join prompt and answer as its records do, and that those
/// of other text stay as they are.
#[test]
fn questions_are_asked_as_records_are_read() {
    let asked = |records: &str| {
        let mut desk = Desk::new();
        let lines = (0..60).map(|n| records.replace('#', &n.to_string()) + "\n");
        desk.file("a.jsonl", lines.collect::<String>());
        let path = desk.file(
            "q.jsonl",
            "{\"prompt\": \"Who?\", \"answer\": \"I\"}\n{\"prompt\": \"Who? \", \"answer\": \"I\"}\n",
        );
        desk.domain("d", &["a.jsonl"]).questions = Some(PathBuf::from(path));
        let dataset = desk.prepare().unwrap();
        let questions = dataset.questions("d").unwrap().into_iter();
        questions
            .map(|question| question.prompt)
            .collect::<Vec<_>>()
    };
    let pairs = r#"{"prompt": "Who saw bird #?", "response": "Number # did."}"#;
    assert_eq!(asked(pairs), ["Who?\n", "Who? "]);
    let spaced = r#"{"prompt": "Who saw bird #?", "response": " Number # did."}"#;
    assert_eq!(asked(spaced), ["Who?", "Who? "]);
    assert_eq!(
        asked(r#"{"text": "Number # saw a bird."}"#),
        ["Who?", "Who? "]
    );
}

/// Checks that the chat template renders the prompts of questions where it renders all documents of the domain.
#[test]
fn questions_of_conversations_are_rendered() {
    let record = r#"{"messages": [{"role": "user", "content": "Who saw bird #?"}, {"role": "assistant", "content": "I"}]}"#;
    let lines: String = (0..60)
        .map(|n| record.replace('#', &n.to_string()) + "\n")
        .collect();
    let mut plain = Desk::new();
    plain.file("a.jsonl", sentences("Bird", 60));
    plain.domain("d", &["a.jsonl"]);
    let tokenizer = fs::read(plain.prepare().unwrap().tokenizer_path()).unwrap();
    let mut desk = Desk::new();
    desk.file("a.jsonl", &lines);
    desk.file("b.jsonl", sentences("Bird", 60));
    desk.file("tokenizer.json", &tokenizer);
    let template = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}{% if add_generation_prompt %}<|it|>{% endif %}";
    desk.file("chat_template.jinja", template);
    let questions = "{\"prompt\": \"Who?\", \"answer\": \"I\", \"group\": \"g\"}\n";
    let path = PathBuf::from(desk.file("q.jsonl", questions));
    desk.config.tokenizer.path = Some(desk.folder.path().join("tokenizer.json"));
    desk.config.tokenizer.vocab_size = None;
    desk.config.tokenizer.sample_bytes = None;
    desk.domain("talk", &["a.jsonl"]).questions = Some(path.clone());
    desk.domain("text", &["b.jsonl"]).questions = Some(path);
    let dataset = desk.prepare().unwrap();
    let asked = |domain: &str| dataset.questions(domain).unwrap().swap_remove(0);
    assert_eq!(asked("talk").prompt, "<|user|>Who?<|it|>");
    assert_eq!(asked("talk").group.as_deref(), Some("g"));
    assert_eq!(asked("text").prompt, "Who?");
}

/// Checks that questions of conversations without a chat template are asked in their lines `role: content`.
#[test]
fn questions_of_plain_conversations_have_their_roles() {
    let mut desk = Desk::new();
    let record = r#"{"messages": [{"role": "user", "content": "Who saw bird #?"}, {"role": "assistant", "content": "I"}]}"#;
    let lines = (0..60).map(|n| record.replace('#', &n.to_string()) + "\n");
    desk.file("a.jsonl", lines.collect::<String>());
    let path = desk.file("q.jsonl", "{\"prompt\": \"Who?\", \"answer\": \"I\"}\n");
    desk.domain("talk", &["a.jsonl"]).questions = Some(PathBuf::from(path));
    let dataset = desk.prepare().unwrap();
    let question = dataset.questions("talk").unwrap().swap_remove(0);
    assert_eq!(question.prompt, "user: Who?\nassistant: ");
    assert_eq!(question.answer, "I");
}
