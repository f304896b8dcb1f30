//! Messages of a chat request.

use polymath_chat::ChatMessage;
use serde_json::Value;

use crate::api_error::{ApiError, wrong};

/// Reads the messages of a request: each has a role and a text. Other keys of a message (tool calls, names) could
/// change the prompt, so they are refused unless they are null or empty.
pub(crate) fn messages(value: Option<&Value>) -> Result<Vec<ChatMessage>, ApiError> {
    let Some(value) = value else {
        return Err(ApiError::parameter("messages", "`messages` is missing"));
    };
    let Some(list) = value.as_array().filter(|list| !list.is_empty()) else {
        return Err(wrong("messages", value, "a list of at least one message"));
    };
    let messages = list.iter().enumerate();
    messages
        .map(|(number, message)| {
            let at = |key: &str| format!("messages[{number}].{key}");
            for (key, value) in message.as_object().into_iter().flatten() {
                if !(key == "role" || key == "content" || is_empty(value)) {
                    let name = at(key);
                    let message = format!(
                        "`{name}` is not supported: a message has a `role` and a `content`"
                    );
                    let refused = ApiError::parameter(&name, message);
                    return Err(refused.with_code("unsupported_parameter"));
                }
            }
            let Some(role) = message["role"].as_str() else {
                return Err(wrong(&at("role"), &message["role"], "a text"));
            };
            let content = content(&message["content"]).ok_or_else(|| {
                wrong(
                    &at("content"),
                    &message["content"],
                    "a text, or parts of type `text`",
                )
            })?;
            Ok(ChatMessage::new(role, content))
        })
        .collect()
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(values) => values.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

/// Returns the text of a message's content, which is a string or a list of text parts; `None` for other content. Parts
/// are joined by line breaks, as in the conversations that models are trained on.
fn content(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Array(parts) => {
            let texts = parts
                .iter()
                .map(|part| part["text"].as_str().filter(|_| part["type"] == "text"));
            Some(texts.collect::<Option<Vec<&str>>>()?.join("\n"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Checks that a key that could change the prompt is refused by its name, and that those of OpenAI's own messages
    /// are accepted.
    #[test]
    fn further_keys_of_messages_are_refused() {
        for (key, value) in [
            ("tool_calls", json!([{"id": "1", "type": "function"}])),
            ("tool_call_id", json!("1")),
            ("name", json!("Ada")),
            ("reasoning_content", json!("Hm.")),
        ] {
            let mut message = json!({"role": "assistant", "content": "a"});
            message[key] = value;
            let error = messages(Some(&json!([message]))).unwrap_err();
            assert_eq!(error.parameter.unwrap(), format!("messages[0].{key}"));
        }
        let answer = json!({
            "role": "assistant", "content": "a", "refusal": null, "tool_calls": [], "audio": null
        });
        let read = messages(Some(&json!([answer]))).unwrap();
        assert_eq!(read, [ChatMessage::new("assistant", "a")]);
    }
}
