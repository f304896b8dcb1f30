//! Fields of records, and JSON values in words.

use serde_json::Value;

/// The field of the messages, and that of the tools that go with them.
pub(crate) const MESSAGES: &str = "messages";
pub(crate) const TOOLS: &str = "tools";
/// ShareGPT's list of messages, and the system prompt beside it.
pub(crate) const CONVERSATIONS: &str = "conversations";
pub(crate) const SYSTEM: &str = "system";

/// Fields of a prompt, and of what is to follow it.
pub(crate) const PAIRS: [(&str, &str); 2] = [("prompt", "response"), ("prompt", "completion")];

/// The fields that are known, for a person.
pub(crate) const FIELDS: &str = "`text`, nor `prompt` and `response` (or `completion`), nor `instruction` and `output`, \
                                 nor `messages` or `conversations`";

/// Known fields, in the order in which a value of another type is named.
pub(crate) const KNOWN: [&str; 9] = [
    "text",
    "prompt",
    "response",
    "completion",
    "instruction",
    "input",
    "output",
    MESSAGES,
    CONVERSATIONS,
];
/// An error lists so many fields at most.
pub(crate) const LISTED: usize = 16;

/// A JSON value in words, short ones as they stand.
pub(crate) fn kind(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(_) | Value::Number(_) => format!("`{value}`"),
        Value::String(_) => "a text".into(),
        Value::Array(_) => "a list".into(),
        Value::Object(_) => "an object".into(),
    }
}

/// Returns the value that names a record's group.
pub(crate) fn group(record: &Value, name: &str) -> Result<String, String> {
    let value = match record.get(name) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        Some(Value::Bool(value)) => value.to_string(),
        _ => String::new(),
    };
    match value.trim().is_empty() {
        false => Ok(value),
        true => Err(format!(
            "has no text or number in its field `{name}`, which names its group (`group_field`)"
        )),
    }
}
