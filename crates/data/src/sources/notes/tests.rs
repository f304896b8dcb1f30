//! Tests of the notes on records.

use serde_json::{Value, json};

use super::*;

/// Checks that names are listed with their counts, up to the maximum number.
#[test]
fn names_are_counted() {
    let mut notes = RecordNotes::default();
    assert!(notes.is_empty() && notes.lines().is_empty());
    for number in 0..100 {
        count(&mut notes.unused_keys, &format!("key{number}"));
        count(&mut notes.renamed_roles, "gpt");
    }
    assert_eq!(notes.unused_keys.len(), MOST_NAMES + 1);
    assert_eq!(notes.unused_keys[OTHERS], 36);
    assert_eq!(
        notes.lines()[1],
        "roles read as another: `gpt` as `assistant` 100"
    );
}

/// Returns notes in which every count is another number, from `first` on.
fn every_count(first: u64) -> Value {
    let name = |at: u64| json!({"gpt": first + at, "rarely": 1});
    json!({
        "unused_keys": name(0), "unused_message_keys": name(1), "renamed_roles": {"gpt": first + 2},
        "unknown_roles": name(3), "unweighted_messages": first + 4, "without_answer": first + 5,
        "unlearned_ends": first + 6, "other_files": name(7), "text_files": name(8), "unlisted_files": name(9),
        "recordless_files": name(10), "broken_files": name(11), "broken": ["`a.json`: cut"], "hidden": name(12),
        "read_by": name(13), "mixed": ["`b.jsonl:2` is another"], "unscored_calls": first + 14,
        "unwritten_calls": first + 15, "pairs": first + 16, "parted_pairs": first + 17, "templated": first + 18,
        "plain_conversations": first + 19
    })
}

/// Checks that the sum of two notes has the sum of each count and the texts of both.
#[test]
fn every_count_is_added() {
    let read = |value: Value| -> RecordNotes { serde_json::from_value(value).unwrap() };
    let mut sum = read(every_count(100));
    sum.add(read(every_count(3000)));
    let sums = serde_json::to_value(&sum).unwrap();
    let mut expected = every_count(3100);
    for (key, value) in expected.as_object_mut().unwrap() {
        // Each count has its place beside the first in both.
        let first = every_count(100)[key].clone();
        *value = match (first, every_count(3000)[key].clone()) {
            (Value::Number(one), Value::Number(other)) => {
                (one.as_u64().unwrap() + other.as_u64().unwrap()).into()
            }
            (Value::Array(one), Value::Array(other)) => Value::Array([one, other].concat()),
            (one, other) => {
                let names = one.as_object().unwrap().iter();
                let sum = names.map(|(name, count)| {
                    let both = count.as_u64().unwrap() + other[name].as_u64().unwrap();
                    (name.clone(), both.into())
                });
                Value::Object(sum.collect())
            }
        };
    }
    assert_eq!(sums, expected);
}

/// Checks that every count has its line, in the order of the lines.
#[test]
fn every_count_has_its_line() {
    let notes: RecordNotes = serde_json::from_value(every_count(100)).unwrap();
    let lines = notes.lines();
    let expected = [
        (
            "keys of records that are not used: ",
            "`gpt` 100, `rarely` 1",
        ),
        (
            "keys of messages that are not used: ",
            "`gpt` 101, `rarely` 1",
        ),
        ("roles read as another: ", "`gpt` as `assistant` 102"),
        (
            "unknown roles, read but not scored: ",
            "`gpt` 103, `rarely` 1",
        ),
        ("messages of the assistant that are not scored", ": 104"),
        (
            "conversations dropped, since the assistant says nothing",
            ": 105",
        ),
        ("answers whose end of turn the chat template", ": 106"),
        (
            "answers with tool calls that are read but not scored",
            ": 114",
        ),
        (
            "answers with tool calls that the chat template does not write",
            ": 115",
        ),
        ("conversations written as lines `role: content`", ": 119"),
        (
            "records are read by different fields",
            "`gpt` 113, `rarely` 1",
        ),
        (
            "prompts that a line break separates from the response",
            ": 117",
        ),
        ("`b.jsonl:2` is another", "another"),
        ("files read as text: ", "`gpt` 108, `rarely` 1"),
        (
            "files left out, since their kind is not supported: ",
            "`gpt` 107, `rarely` 1",
        ),
        (
            "files left out, since their records have no known fields",
            "`gpt` 110, `rarely` 1",
        ),
    ];
    for (line, (begin, end)) in lines.iter().zip(expected) {
        assert!(line.starts_with(begin) && line.ends_with(end), "{line}");
    }
    let rest = lines[expected.len()..].join("\n");
    for part in ["`gpt` 109", "`gpt` 111", "`gpt` 112", "`a.json`: cut"] {
        assert_eq!(rest.matches(part).count(), 1, "{part}: {rest}");
    }
}
