//! A record of `.jsonl` as the text of a document.

use serde_json::Value;

use crate::source::Part;

/// The parts of a JSON record, by the fields that it has. A prompt is parted from its response by a line's end, unless
/// one of them has white space there; a message stands as `role: content` and a line's end.
pub(crate) fn parts(record: &Value, text_field: Option<&str>) -> Result<Vec<Part>, String> {
    let field = |name: &str| record.get(name).and_then(Value::as_str);
    let part = |text: &str, scored| Part {
        text: text.to_owned(),
        scored,
    };
    if let Some(name) = text_field {
        let text = field(name).ok_or_else(|| format!("has no text in its field `{name}`"))?;
        return Ok(vec![part(text, true)]);
    }
    if let Some(text) = field("text") {
        return Ok(vec![part(text, true)]);
    }
    if let (Some(prompt), Some(response)) = (field("prompt"), field("response")) {
        let apart =
            prompt.ends_with(char::is_whitespace) || response.starts_with(char::is_whitespace);
        let prompt = if apart {
            prompt.to_owned()
        } else {
            format!("{prompt}\n")
        };
        return Ok(vec![part(&prompt, false), part(response, true)]);
    }
    let messages = record
        .get("messages")
        .and_then(Value::as_array)
        .ok_or("has neither `text`, nor `prompt` and `response`, nor `messages`: name its field in `text_field`")?;
    let mut parts = Vec::new();
    for message in messages {
        let text = |name: &str| {
            message
                .get(name)
                .and_then(Value::as_str)
                .ok_or_else(|| format!("has a message without `{name}`"))
        };
        let (role, content) = (text("role")?, text("content")?);
        parts.push(part(&format!("{role}: "), false));
        parts.push(part(&format!("{content}\n"), role == "assistant"));
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(json: &str, field: Option<&str>) -> Result<Vec<(String, bool)>, String> {
        let parts = parts(&serde_json::from_str(json).unwrap(), field)?;
        Ok(parts
            .into_iter()
            .map(|part| (part.text, part.scored))
            .collect())
    }

    /// Each kind of record gives the text that is learnt, and marks what is not.
    #[test]
    fn records_are_read_by_their_fields() {
        let owned = |text: &str, scored| (text.to_owned(), scored);
        assert_eq!(record(r#"{"text": "a"}"#, None), Ok(vec![owned("a", true)]));
        assert_eq!(
            record(r#"{"body": "b", "text": "a"}"#, Some("body")),
            Ok(vec![owned("b", true)])
        );
        assert_eq!(
            record(r#"{"prompt": "q", "response": "r"}"#, None),
            Ok(vec![owned("q\n", false), owned("r", true)])
        );
        assert_eq!(
            record(
                r#"{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "r"}]}"#,
                None
            ),
            Ok(vec![
                owned("user: ", false),
                owned("q\n", false),
                owned("assistant: ", false),
                owned("r\n", true)
            ])
        );
        assert!(
            record(r#"{"body": "b"}"#, None)
                .unwrap_err()
                .contains("neither `text`")
        );
    }
}
