//! Tests that sessions give the same answers as without a cache, and compute only new tokens.

use std::ops::ControlFlow;

use candle_core::Device;
use polymath_chat::*;
use polymath_model::{LoadOptions, ModelSource, Ops, Precision, SamplingConfig};
use serde_json::{Value, json};

use crate::support::{TEMPLATE, model};

const MESSAGES: [&str; 4] = ["Hello, who are you?", "Why? 中文", "say 5", "And é then?"];

fn greedy(max_tokens: usize) -> Request {
    Request {
        max_tokens: Some(max_tokens),
        ..Request::new(SamplingConfig {
            temperature: 0.0,
            ..SamplingConfig::default()
        })
    }
}

fn ignore(_: &str) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// Asserts that each answer of a session equals the answer computed without a cache. Returns the answers.
fn same_as_from_scratch(model: &ChatModel) -> Vec<Answer> {
    let mut session = Session::new(model, Some("Be brief.".into()));
    let answers = MESSAGES.map(|text| {
        let mut messages = session.messages().to_vec();
        messages.push(ChatMessage::new("user", text));
        let mut pieces = String::new();
        let mut sink = |piece: &str| {
            pieces += piece;
            ControlFlow::Continue(())
        };
        let answer = session.respond(text, &greedy(24), &mut sink).unwrap();
        let mut engine = Engine::new(model);
        let prompt = Prompt::Messages(&messages);
        let again = engine.answer(prompt, &greedy(24), &mut ignore).unwrap();
        assert_eq!(again.reused_tokens, 0);
        assert_eq!((&answer.text, &answer.end), (&again.text, &again.end));
        assert_eq!(answer.prompt_tokens, again.prompt_tokens);
        assert_eq!(pieces, answer.text);
        answer
    });
    answers.into()
}

/// Checks that tokens of earlier turns are not computed again: the second prompt computes only the end of the first
/// answer and the new message.
#[test]
fn only_new_tokens_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let model = model(folder.path(), Some(TEMPLATE), json!({}));
    let answers = same_as_from_scratch(&model);
    assert!(
        answers.iter().any(|answer| answer.tokens > 4),
        "{answers:?}"
    );
    assert_eq!(answers[0].reused_tokens, 0);
    for (earlier, later) in answers.iter().zip(&answers[1..]) {
        // Invalid UTF-8 is decoded to other bytes, so the text from there on is computed again.
        let least = earlier.prompt_tokens;
        assert!(later.reused_tokens >= least, "{earlier:?}, {later:?}");
        if !earlier.text.contains('\u{fffd}') {
            assert!(
                later.reused_tokens + 1 >= least + earlier.tokens,
                "{earlier:?}, {later:?}"
            );
        }
    }
}

/// Checks that answers are the same as without a cache even if the chat template rewrites earlier turns, or the model
/// has a sliding attention window.
#[test]
fn rewritten_turns_and_windows_are_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let forgetful = "{{ bos_token }}{{ messages | length }}{% for m in messages %}{{ m.role + ':' + m.content + '<|turn|>' }}\
        {% endfor %}assistant:";
    let answers = same_as_from_scratch(&model(folder.path(), Some(forgetful), json!({})));
    assert!(answers[1..].iter().all(|answer| answer.reused_tokens <= 2));
    let folder = tempfile::tempdir().unwrap();
    let windowed = json!({"sliding_window": 16});
    same_as_from_scratch(&model(folder.path(), Some(TEMPLATE), windowed));
}

/// Checks that a reset removes the messages, keeps the system message, and gives the same answer to the same message.
#[test]
fn a_reset_keeps_only_the_system_message() {
    let folder = tempfile::tempdir().unwrap();
    let model = model(folder.path(), Some(TEMPLATE), json!({}));
    let mut session = Session::new(&model, Some("s".into()));
    let first = session.respond("a", &greedy(8), &mut ignore).unwrap();
    session.respond("b", &greedy(8), &mut ignore).unwrap();
    session.reset();
    assert_eq!(session.messages(), [ChatMessage::new("system", "s")]);
    let again = session.respond("a", &greedy(8), &mut ignore).unwrap();
    assert_eq!((first.text, 0), (again.text, again.reused_tokens));
}

/// Checks that a prompt that does not fit into the context is an error and leaves the conversation unchanged.
#[test]
fn a_full_context_is_an_error_and_nothing_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let model = model(folder.path(), Some(TEMPLATE), json!({}));
    let mut session = Session::new(&model, None);
    session.respond("a", &greedy(8), &mut ignore).unwrap();
    let before = session.messages().to_vec();
    let long = "long ".repeat(200);
    let error = session.respond(&long, &greedy(8), &mut ignore).unwrap_err();
    assert!(
        matches!(error, ChatError::ContextFull { context: 640, .. }),
        "{error}"
    );
    assert!(error.is_refusal());
    assert_eq!(session.messages(), before);
    let answer = session.respond(
        "b",
        &Request {
            max_tokens: None,
            ..greedy(1)
        },
        &mut ignore,
    );
    let answer = answer.unwrap();
    if answer.end == End::ContextFull {
        assert_eq!(answer.prompt_tokens + answer.tokens, 641);
    }
}

/// Checks that a conversation that fills the context goes on without its earliest turns: the answer is that of a
/// conversation which has only the later ones, the system message stays, and all messages are kept for saving.
#[test]
fn a_full_context_leaves_out_the_earliest_turns() {
    let folder = tempfile::tempdir().unwrap();
    let model = model(folder.path(), Some(TEMPLATE), json!({}));
    let mut session = Session::new(&model, Some("s".into()));
    let long = |word: &str| format!("{word} ").repeat(60);
    let mut said = Vec::new();
    while session.left_out() == 0 {
        assert!(said.len() < 20, "the context is never full");
        let answer = session
            .respond(&long("ab"), &greedy(4), &mut ignore)
            .unwrap();
        said.push(answer);
    }
    let turns = said.len();
    assert_eq!(session.messages().len(), 1 + 2 * turns);
    let left = session.left_out();
    assert!(left % 2 == 0 && left < 2 * turns, "{left} of {turns} turns");
    let read = [
        &session.messages()[..1],
        &session.messages()[1 + left..2 * turns],
    ]
    .concat();
    let alone = Engine::new(&model)
        .answer(Prompt::Messages(&read), &greedy(4), &mut ignore)
        .unwrap();
    let last = said.last().unwrap();
    assert_eq!(
        (alone.text, alone.prompt_tokens),
        (last.text.clone(), last.prompt_tokens)
    );
    session.reset();
    assert_eq!(session.left_out(), 0);
}

/// Checks that stop texts end an answer wherever they occur, and are not part of it.
#[test]
fn stop_texts_end_an_answer() {
    let folder = tempfile::tempdir().unwrap();
    let model = model(folder.path(), None, json!({}));
    let whole = Engine::new(&model)
        .answer(Prompt::Text("abc"), &greedy(60), &mut ignore)
        .unwrap();
    let characters: Vec<char> = whole.text.chars().collect();
    assert!(characters.len() > 12, "{whole:?}");
    for from in [0, 3, 8] {
        let stop: String = characters[from..from + 3].iter().collect();
        let request = Request {
            stop: vec!["never".into(), stop.clone()],
            ..greedy(60)
        };
        let mut pieces = String::new();
        let mut sink = |piece: &str| {
            pieces += piece;
            ControlFlow::Continue(())
        };
        let answer = Engine::new(&model)
            .answer(Prompt::Text("abc"), &request, &mut sink)
            .unwrap();
        let expected = whole.text.split(&stop).next().unwrap();
        assert_eq!(
            (answer.text.as_str(), pieces.as_str()),
            (expected, expected)
        );
        assert_eq!(answer.end, End::Stop(stop));
    }
    let empty = Request {
        stop: vec![String::new()],
        ..greedy(1)
    };
    let refused = Engine::new(&model).answer(Prompt::Text("a"), &empty, &mut ignore);
    assert!(refused.is_err());
}

/// Checks that a model without a chat template continues a single text, and that it refuses messages with a hint.
#[test]
fn without_a_template_text_is_continued() {
    let folder = tempfile::tempdir().unwrap();
    let model = model(folder.path(), None, json!({}));
    let mut session = Session::new(&model, None);
    let first = session.respond("one", &greedy(6), &mut ignore).unwrap();
    session.respond("two", &greedy(6), &mut ignore).unwrap();
    let begin = format!("one{}", first.text);
    assert!(session.plain_text().starts_with(&begin));
    let messages = [ChatMessage::new("user", "a")];
    let error = Engine::new(&model)
        .answer(Prompt::Messages(&messages), &greedy(6), &mut ignore)
        .unwrap_err();
    assert!(error.to_string().contains("no chat template"), "{error}");
    let record: Value = serde_json::from_str(&session.to_json()).unwrap();
    assert_eq!(record["text"], session.plain_text());
}

/// Chat template that ends turns with the text `SEPARATOR`, and writes a colon and `SPACE` before an answer.
const TEXTUAL: &str = "{% for m in messages %}{% if m.role == 'user' and not loop.first %}{{ 'SEPARATOR' }}{% endif %}\
    {{ m.content }}{% if m.role == 'user' %}{{ ':SPACE' }}{% endif %}{% endfor %}";

fn textual(folder: &std::path::Path, separator: &str, space: &str) -> ChatModel {
    let separator = separator.replace('\\', "\\\\").replace('\'', "\\'");
    let template = TEXTUAL
        .replace("SEPARATOR", &separator)
        .replace("SPACE", space);
    model(folder, Some(&template), json!({}))
}

/// Checks that an answer ends at the text that a template puts between turns, if no token does.
#[test]
fn text_between_turns_ends_an_answer() {
    let folder = tempfile::tempdir().unwrap();
    let messages = [ChatMessage::new("user", "abc")];
    let prompt = Prompt::Messages(&messages);
    let endless = textual(folder.path(), "<never>", "");
    let whole = Engine::new(&endless)
        .answer(prompt, &greedy(60), &mut ignore)
        .unwrap();
    let characters: Vec<char> = whole.text.chars().collect();
    let separator: String = characters[4..7].iter().collect();
    assert!(!separator.trim().is_empty(), "{separator:?}");
    let model = textual(folder.path(), &separator, "");
    let answer = Engine::new(&model)
        .answer(prompt, &greedy(60), &mut ignore)
        .unwrap();
    let expected = whole.text.split(&separator).next().unwrap();
    assert_eq!(answer.text, expected);
    assert_eq!(answer.end, End::Stop(separator));
    let all = model.answer_all(&["abc"], 60, &mut |_| ()).unwrap();
    assert_eq!(all, [expected.trim()]);
}

/// Checks that a space that a template writes before an answer is part of the answer's first token, as in training
/// text, and not of the answer.
#[test]
fn a_space_before_an_answer_is_not_part_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let model = textual(folder.path(), "<never>", " ");
    let messages = [ChatMessage::new("user", "abc")];
    let mut engine = Engine::new(&model);
    let answered = engine
        .answer(Prompt::Messages(&messages), &greedy(9), &mut ignore)
        .unwrap();
    let continued = engine
        .answer(Prompt::Text("abc: "), &greedy(9), &mut ignore)
        .unwrap();
    assert_eq!(format!(" {}", answered.text), continued.text);
    assert_eq!(answered.prompt_tokens, continued.prompt_tokens);
}

/// Checks that a saved conversation is a record that can be prepared as a dataset, and that an existing file is not
/// overwritten.
#[test]
fn a_conversation_is_saved_once() {
    let folder = tempfile::tempdir().unwrap();
    let model = model(folder.path(), Some(TEMPLATE), json!({}));
    let mut session = Session::new(&model, None);
    session.respond("a", &greedy(4), &mut ignore).unwrap();
    let path = folder.path().join("saved.jsonl");
    let sessions = [session];
    save(&sessions, &path).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    let record: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        record["messages"][0],
        json!({"role": "user", "content": "a"})
    );
    assert_eq!(record["messages"][1]["role"], "assistant");
    let error = save(&sessions, &path).unwrap_err().to_string();
    assert!(error.contains("exists already"), "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
}

/// Checks that a text is scored once per token, in windows of the context if it is longer, and that a text is continued
/// as by an engine.
#[test]
fn texts_are_scored_and_continued() {
    let folder = tempfile::tempdir().unwrap();
    let model = model(folder.path(), None, json!({"initializer_range": 0.02}));
    let short = model.score_text("0123456789").unwrap();
    assert_eq!((short.tokens, short.bytes), (10, 10));
    // Weights are random: each of the 259 tokens is about as likely as any other.
    let uniform = 10.0 * f64::from(259).ln();
    assert!((short.nats / uniform - 1.0).abs() < 0.2, "{short:?}");
    assert!((short.bits_per_byte() - short.nats / 10.0 / std::f64::consts::LN_2).abs() < 1e-9);
    let long = model.score_text(&"0123456789".repeat(150)).unwrap();
    assert!(long.bytes as usize > 2 * model.context());
    assert_eq!((long.tokens, long.bytes), (1500, 1500));
    assert!((long.nats / uniform / 150.0 - 1.0).abs() < 0.2, "{long:?}");
    let empty = model.score_text("").unwrap();
    assert_eq!((empty.tokens, empty.nats), (0, 0.0));
    let said = model.generate_text("ab", &greedy(4)).unwrap();
    let mut engine = Engine::new(&model);
    let same = engine.answer(Prompt::Text("ab"), &greedy(4), &mut ignore);
    assert_eq!(said, same.unwrap().text);
}

/// Checks that a formatted conversation begins with the begin token unless the settings beside the tokenizer say that
/// there is none, and that no other absent token counts for it.
#[test]
fn settings_without_a_begin_token_are_respected() {
    let folder = tempfile::tempdir().unwrap();
    let tokens = |settings: Value| {
        model(folder.path(), Some("{{ messages[0].content }}"), json!({}));
        let place = folder.path().join("model");
        std::fs::write(place.join("tokenizer_config.json"), settings.to_string()).unwrap();
        let options = LoadOptions::frozen(&Device::Cpu, Ops::fused(Precision::F32));
        let model = ChatModel::open(ModelSource::of(&place), &options).unwrap();
        let mut engine = Engine::new(&model);
        let answer = engine.answer(
            Prompt::Messages(&[ChatMessage::new("user", "abc")]),
            &greedy(1),
            &mut ignore,
        );
        answer.unwrap().prompt_tokens
    };
    let both = json!({"bos_token": "<|begin|>", "eos_token": "<|end|>"});
    assert_eq!(tokens(both), 4);
    assert_eq!(
        tokens(json!({"bos_token": null, "eos_token": "<|end|>"})),
        3
    );
    assert_eq!(
        tokens(json!({"bos_token": "<|begin|>", "eos_token": null})),
        4
    );
}
