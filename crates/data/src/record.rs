//! A record of `.jsonl`, or a row of `.parquet`, as the text of a document.

use serde_json::Value;

use crate::chat::ChatTemplate;
use crate::source::Part;

/// How the records of a domain are read.
#[derive(Clone, Copy, Default)]
pub(crate) struct Records<'a> {
    /// The field that holds the text, where it is named.
    pub(crate) text_field: Option<&'a str>,
    /// What renders `messages`.
    pub(crate) template: Option<&'a ChatTemplate>,
}

/// Fields of a prompt, and of what is to follow it.
const PAIRS: [(&str, &str); 2] = [("prompt", "response"), ("prompt", "completion")];

/// The fields that are known, for a person.
pub(crate) const FIELDS: &str = "`text`, nor `prompt` and `response` (or `completion`), nor `instruction` and `output`, \
                                 nor `messages`";

impl<'a> Records<'a> {
    /// The fields that a record is read by, given which are texts and which are messages; `None` where there are none of
    /// those that are known.
    pub(crate) fn fields(
        &self,
        is_text: &dyn Fn(&str) -> bool,
        is_messages: &dyn Fn(&str) -> bool,
    ) -> Option<Vec<&'a str>> {
        let texts = |names: &[&'static str]| -> Option<Vec<&'a str>> {
            let all = names.iter().all(|name| is_text(name));
            all.then(|| names.to_vec())
        };
        if let Some(name) = self.text_field {
            return is_text(name).then(|| vec![name]);
        }
        let pair = || {
            PAIRS
                .iter()
                .find_map(|(prompt, response)| texts(&[prompt, response]))
        };
        texts(&["text"])
            .or_else(pair)
            .or_else(|| texts(&["instruction", "input", "output"]))
            .or_else(|| texts(&["instruction", "output"]))
            .or_else(|| is_messages("messages").then(|| vec!["messages"]))
    }

    /// The parts of a JSON record, by the fields that it has. A prompt is parted from its response by a line's end, unless
    /// one of them has white space there; so are an `instruction`, its `input` and the `output`. Messages are rendered by
    /// the tokenizer's chat template; where it has none, as `role: content` and a line's end.
    pub(crate) fn parts(&self, record: &Value) -> Result<Vec<Part>, String> {
        let is_null = |name: &str| record.get(name).is_some_and(Value::is_null);
        let field = |name: &str| match record.get(name) {
            Some(Value::Null) => Some(""),
            value => value.and_then(Value::as_str),
        };
        let messages = record.get("messages").and_then(Value::as_array);
        let is_text = |name: &str| field(name).is_some() && !is_null(name);
        // A field that is null is an empty text, or has no messages; it is only read where there are no others.
        let found = self
            .fields(&is_text, &|_| messages.is_some())
            .or_else(|| self.fields(&|name| field(name).is_some(), &|name| is_null(name)));
        let names = found.ok_or_else(|| match self.text_field {
            Some(name) => format!("has no text in its field `{name}`"),
            None => format!("has neither {FIELDS}: name its field in `text_field`"),
        })?;
        let texts: Vec<&str> = names.into_iter().filter_map(field).collect();
        match texts[..] {
            [text] => Ok(vec![Part::text(text, true)]),
            [prompt, response] => Ok(pair(prompt, response)),
            [instruction, input, output] if input.trim().is_empty() => {
                Ok(pair(instruction, output))
            }
            [instruction, input, output] => Ok(pair(&(apart(instruction, input) + input), output)),
            _ => self.conversation(messages.map_or(&[], Vec::as_slice)),
        }
    }

    fn conversation(&self, messages: &[Value]) -> Result<Vec<Part>, String> {
        match self.template {
            _ if messages.is_empty() => Ok(Vec::new()),
            Some(template) => template.parts(messages),
            None => plainly(messages),
        }
    }
}

fn pair(prompt: &str, response: &str) -> Vec<Part> {
    vec![
        Part::text(apart(prompt, response), false),
        Part::text(response, true),
    ]
}

/// The first of two texts, ended such that the second does not run into it.
fn apart(first: &str, second: &str) -> String {
    let white = first.ends_with(char::is_whitespace) || second.starts_with(char::is_whitespace);
    let end = if white { "" } else { "\n" };
    format!("{first}{end}")
}

/// Messages as `role: content` and a line's end.
fn plainly(messages: &[Value]) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    for message in messages {
        let text = |name: &str| {
            message
                .get(name)
                .and_then(Value::as_str)
                .ok_or_else(|| format!("has a message without `{name}`"))
        };
        let (role, content) = (text("role")?, text("content")?);
        parts.push(Part::text(format!("{role}: "), false));
        parts.push(Part::text(format!("{content}\n"), role == "assistant"));
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(json: &str, field: Option<&str>) -> Result<Vec<(String, bool)>, String> {
        let records = Records {
            text_field: field,
            template: None,
        };
        let parts = records.parts(&serde_json::from_str(json).unwrap())?;
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
            record(r#"{"prompt": "q ", "completion": "r"}"#, None),
            Ok(vec![owned("q ", false), owned("r", true)])
        );
        assert_eq!(
            record(r#"{"instruction": "i", "input": "q", "output": "r"}"#, None),
            Ok(vec![owned("i\nq\n", false), owned("r", true)])
        );
        assert_eq!(
            record(r#"{"instruction": "i", "input": "", "output": "r"}"#, None),
            Ok(vec![owned("i\n", false), owned("r", true)])
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
