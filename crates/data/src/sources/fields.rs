//! Names of record fields, and descriptions of JSON values.

use serde_json::Value;

/// Record fields that hold the messages and the tools of a conversation.
pub(crate) const MESSAGES: &str = "messages";
pub(crate) const TOOLS: &str = "tools";
/// Fields of ShareGPT's list of messages and of the system prompt next to it.
pub(crate) const CONVERSATIONS: &str = "conversations";
pub(crate) const SYSTEM: &str = "system";

/// Pairs of record fields that hold a prompt and its response.
pub(crate) const PAIRS: [(&str, &str); 2] = [("prompt", "response"), ("prompt", "completion")];

/// Known record fields, as text for error messages.
pub(crate) const FIELDS: &str = "`text`, nor `prompt` and `response` (or `completion`), nor `instruction` and `output`, \
                                 nor `messages` or `conversations`";

/// Known fields, in the order in which they are checked for values of a wrong type.
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
/// Maximum number of fields that an error message lists.
pub(crate) const LISTED: usize = 16;

/// Describes a JSON value in words; quotes short ones.
pub(crate) fn kind(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(_) | Value::Number(_) => format!("`{value}`"),
        Value::String(_) => "a text".into(),
        Value::Array(_) => "a list".into(),
        Value::Object(_) => "an object".into(),
    }
}

/// Returns the value of the field that names a record's group.
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
