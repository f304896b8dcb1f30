//! Tests of whole conversations of `chat`: every line of the output and of a saved file, and the effect of every flag.

use predicates::str::contains;
use serde_json::{Value, json};

use super::{folder, told};
use crate::support::fixture::polymath;

/// Returns what `generate` answers.
fn generated(more: &[&str]) -> String {
    let (text, _) = told(&[&["generate"], more].concat(), "");
    text.strip_suffix('\n').unwrap().to_owned()
}

/// Checks that two models answer each message with the whole conversation in mind, that `//` begins a message with a
/// slash, and that every message is saved.
#[test]
fn conversations_are_answered_and_saved_whole() {
    const GREEDY: [&str; 4] = ["--temperature", "0", "--max-tokens", "6"];
    let (both, noted) = told(
        &[&["chat", "chatty", "runs/base"], &GREEDY[..]].concat(),
        "1 2 3\r\n \n//help me\n/save both.jsonl\n/exit\nnever\n",
    );
    let answer = |model: &str, prompt: &str| {
        generated(&[&[model, "--raw", "--prompt", prompt], &GREEDY[..]].concat())
    };
    let end = "<|endoftext|>";
    let first = answer("chatty", &format!("1 2 3{end}"));
    let second = answer("chatty", &format!("1 2 3{end}{first}{end}/help me{end}"));
    let begun = answer("runs/base", "1 2 3");
    let line = format!("1 2 3{begun}\n/help me");
    let continued = answer("runs/base", &line);
    assert_eq!(
        both,
        format!(
            "[chatty]\n{first}\n[runs/base]\n{begun}\n[chatty]\n{second}\n[runs/base]\n{continued}\n"
        )
    );
    assert!(noted.contains("saved `both.jsonl`"), "{noted}");

    let saved = std::fs::read_to_string(folder().join("both.jsonl")).unwrap();
    assert!(saved.ends_with("}\n"), "{saved}");
    let records: Vec<Value> = saved
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let said = [
        json!({"role": "user", "content": "1 2 3"}),
        json!({"role": "assistant", "content": first}),
        json!({"role": "user", "content": "/help me"}),
        json!({"role": "assistant", "content": second}),
    ];
    assert_eq!(records.len(), 2, "{saved}");
    assert_eq!(records[0], json!({"messages": said, "model": "chatty"}));
    assert_eq!(records[1]["text"], format!("{line}{continued}"));
    let model = records[1]["model"].as_str().unwrap();
    assert!(model.starts_with("runs/base"), "{model}");
    assert_eq!(records[1].as_object().unwrap().len(), 2, "{saved}");
}

/// Checks that every flag of `chat` has the effect of that of `generate`, and that each turn draws other numbers.
#[test]
fn flags_of_a_conversation_have_their_effect() {
    let sampling = [
        "--temperature",
        "1.3",
        "--top-k",
        "9",
        "--top-p",
        "0.9",
        "--repetition-penalty",
        "1.2",
        "--max-tokens",
        "7",
        "--system",
        "3",
    ];
    let answer = |seed: &str, more: &[&str]| {
        let begin = ["chatty", "--prompt", "1 2", "--seed", seed];
        generated(&[&begin[..], &sampling[..], more].concat())
    };
    let (said, noted) = told(
        &[&["chat", "chatty", "--seed", "5"], &sampling[..]].concat(),
        "1 2\n/reset\n1 2\n/reset\n1 2\n",
    );
    let expected = ["5", "6", "7"].map(|seed| answer(seed, &[]) + "\n");
    assert_eq!(said, expected.concat());
    assert_eq!(noted.matches("a new conversation begins").count(), 2);

    let first = expected[0].trim_end_matches('\n');
    let stop: String = first.chars().skip(1).take(2).collect();
    let stopped = answer("5", &["--stop", &stop]);
    assert_eq!(stopped, first.split(&stop).next().unwrap());
    let (said, _) = told(
        &[
            &["chat", "chatty", "--seed", "5", "--stop", &stop],
            &sampling[..],
        ]
        .concat(),
        "1 2\n",
    );
    assert_eq!(said, stopped + "\n");
    polymath(folder())
        .args(["chat", "runs/base", "--system", "3"])
        .write_stdin("1 2\n")
        .assert()
        .code(2)
        .stderr(contains("`--system`"));
}

/// Checks that a conversation beyond the context goes on without its first turns, and says how many messages are left
/// out each time that there are more.
#[test]
fn long_conversations_leave_out_their_beginning() {
    let greedy = ["chat", "chatty", "--temperature", "0", "--max-tokens", "6"];
    let (said, noted) = told(&greedy, &"1 2 3\n4 5 6\n7 8 9\n".repeat(2));
    assert!(said.lines().count() >= 6, "{said:?}");
    let lines = noted
        .lines()
        .filter(|line| line.contains("messages no more"));
    let left_out = |count: usize| {
        format!(
            "the context is full: the model reads the first {count} messages no more; `/reset` begins a new conversation"
        )
    };
    assert_eq!(lines.collect::<Vec<_>>(), [left_out(2), left_out(4)]);
}
