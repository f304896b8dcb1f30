//! A message of a conversation: role, text, weight, and the keys that only a template reads.

use minijinja::value::Serde;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use super::roles::{ASSISTANT, known_role, known_share_gpt_role};
use super::segments::MARKS;
use crate::RecordNotes;
use crate::sources::fields::kind;
use crate::sources::layout::MessageFields;
use crate::sources::notes::count;

/// Keys that this module interprets; all others are for the template.
const KEYS: [&str; 4] = ["role", "content", "weight", "train"];

/// A message of a conversation.
pub(super) struct Message {
    /// All fields of the message, with a normalized role and without null values, as in `transformers`.
    pub(super) fields: Map<String, Value>,
    /// Fields in the order of the record, since templates write tools and calls in that order.
    ordered: Vec<(String, minijinja::Value)>,
    /// True for a message of the assistant.
    pub(super) is_answer: bool,
    /// True for an answer that is learned and scored.
    pub(super) is_scored: bool,
    /// True if the message has tool calls only, and no text.
    pub(super) is_call: bool,
}

impl Message {
    pub(super) fn text(&self, key: &str) -> &str {
        self.fields
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    /// Returns the keys that only a template can use.
    pub(super) fn further_keys(&self) -> impl Iterator<Item = &String> {
        let keys = self.fields.keys();
        keys.filter(|key| !KEYS.contains(&key.as_str()))
    }

    /// Returns the message as a value for the template.
    pub(super) fn for_template(&self) -> minijinja::Value {
        self.changed(None, &|_| false)
    }

    /// Returns the message for the template with its content replaced.
    pub(super) fn saying(&self, content: String) -> minijinja::Value {
        self.changed(Some(content), &|_| false)
    }

    /// Returns the message for the template without the further keys for which `left_out` returns true.
    pub(super) fn without(&self, left_out: &dyn Fn(&str) -> bool) -> minijinja::Value {
        self.changed(None, left_out)
    }

    fn changed(
        &self,
        mut content: Option<String>,
        left_out: &dyn Fn(&str) -> bool,
    ) -> minijinja::Value {
        let mut pairs = Vec::new();
        for (name, value) in &self.ordered {
            let value = match name.as_str() {
                "role" => self.text(name).into(),
                "content" => content
                    .take()
                    .unwrap_or_else(|| self.text(name).to_owned())
                    .into(),
                name if !KEYS.contains(&name) && left_out(name) => continue,
                _ => value.clone(),
            };
            pairs.push((name.clone(), value));
        }
        minijinja::Value::from(Serde(Pairs(pairs)))
    }
}

/// Map that keeps the order of its keys, as a Jinja value.
pub(super) struct Pairs(pub(super) Vec<(String, minijinja::Value)>);

impl Serialize for Pairs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, value)| (key, value)))
    }
}

impl Message {
    /// Reads a message whose keys have the names in `names`. `ordered` is the same message with its keys in the order
    /// of the file.
    ///
    /// # Errors
    /// Fails if the message has no role or no text, if a part of its content is not text, or if its weight is neither
    /// 0 nor 1.
    pub(super) fn read(
        message: &Value,
        ordered: &minijinja::Value,
        names: &MessageFields,
        notes: &mut RecordNotes,
    ) -> Result<Self, String> {
        let fields = message
            .as_object()
            .ok_or("has a message that is not an object")?;
        let keys = Keys::of(fields, names);
        let mut fields: Map<String, Value> = fields
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(key, value)| (keys.usual(key).to_owned(), value.clone()))
            .collect();
        let role = fields.get("role").and_then(Value::as_str);
        let role = role
            .ok_or_else(|| format!("has a message without `{}`", keys.role))?
            .to_owned();
        let is_call = !fields.contains_key("content") && has_calls(&fields);
        let content = match fields.get("content") {
            Some(content) => text_of(content, keys.content)?,
            None if is_call => String::new(),
            None => return Err(format!("has a message without `{}`", keys.content)),
        };
        fields.insert("content".into(), content.into());
        if Value::Object(fields.clone()).to_string().contains(MARKS) {
            return Err(
                "has a message with one of U+FDD0 to U+FDD3, which are not characters: remove them"
                    .into(),
            );
        }
        let known = keys.known_role(&role);
        match known {
            None => count(&mut notes.unknown_roles, &role),
            Some(known) => {
                if known != role {
                    count(&mut notes.renamed_roles, &role);
                    fields.insert("role".into(), known.into());
                }
            }
        }
        let is_answer = known == Some(ASSISTANT);
        let weighted = is_weighted(&fields)?;
        if is_answer && !weighted {
            notes.unweighted_messages += 1;
        }
        for key in ["weight", "train"] {
            if !is_answer && fields.contains_key(key) {
                count(
                    &mut notes.unused_message_keys,
                    &format!("{key}` of `{role}"),
                );
            }
        }
        Ok(Self {
            ordered: in_order(&fields, ordered, &keys),
            fields,
            is_answer,
            is_scored: is_answer && weighted,
            is_call,
        })
    }

    /// Creates a system message from the system prompt in another field of the record.
    pub(super) fn system(text: &str) -> Self {
        let fields = [("role", "system"), ("content", text)];
        let fields = fields.map(|(key, value)| (key.to_owned(), Value::from(value)));
        let ordered = ["role", "content"].map(|key| (key.to_owned(), minijinja::Value::UNDEFINED));
        Self {
            fields: fields.into_iter().collect(),
            ordered: ordered.into(),
            is_answer: false,
            is_scored: false,
            is_call: false,
        }
    }

    /// Returns true if the message calls tools.
    pub(super) fn calls_tools(&self) -> bool {
        has_calls(&self.fields)
    }
}

/// Names of the keys that hold a message's role and text.
struct Keys<'a> {
    role: &'a str,
    content: &'a str,
}

impl<'a> Keys<'a> {
    /// Returns `role` and `content` (OpenAI), `from` and `value` (ShareGPT), or the names in the config.
    fn of(message: &Map<String, Value>, names: &MessageFields<'a>) -> Self {
        let is_share_gpt = !message.contains_key("role") && message.contains_key(SHARE_GPT.0);
        let (role, content) = match is_share_gpt {
            true => SHARE_GPT,
            false => ("role", "content"),
        };
        Self {
            role: names.role.unwrap_or(role),
            content: names.content.unwrap_or(content),
        }
    }

    /// Returns OpenAI's name for a key (`role` or `content`), or the key itself.
    fn usual<'k>(&self, key: &'k str) -> &'k str {
        match key {
            _ if key == self.role => "role",
            _ if key == self.content => "content",
            _ => key,
        }
    }

    fn known_role(&self, role: &str) -> Option<&'static str> {
        match self.role == SHARE_GPT.0 {
            true => known_share_gpt_role(role),
            false => known_role(role),
        }
    }
}

/// Keys for role and text in ShareGPT's format.
const SHARE_GPT: (&str, &str) = ("from", "value");
/// Keys that hold tool calls.
pub(super) const CALLS: [&str; 2] = ["tool_calls", "function_call"];

fn has_calls(fields: &Map<String, Value>) -> bool {
    CALLS.iter().any(|key| match fields.get(*key) {
        Some(Value::Array(calls)) => !calls.is_empty(),
        Some(Value::Object(_)) => true,
        _ => false,
    })
}

/// Returns the text of a message: a string, or the text parts of a list joined by line breaks.
fn text_of(content: &Value, key: &str) -> Result<String, String> {
    let parts = match content {
        Value::String(text) => return Ok(text.clone()),
        Value::Array(parts) => parts,
        other => {
            let kind = kind(other);
            return Err(format!(
                "has a message whose `{key}` is {kind}, expected a text"
            ));
        }
    };
    let texts = parts.iter().map(|part| {
        let named = part.get("type").and_then(Value::as_str);
        let text = match part {
            Value::String(text) => Some(text.as_str()),
            part => part.get("text").and_then(Value::as_str),
        };
        match (named, text) {
            (None | Some("text" | "input_text" | "output_text"), Some(text)) => Ok(text),
            (Some(name), _) => Err(format!(
                "has a message with a part of type `{name}`, which is not text: remove the part, or the record"
            )),
            (None, None) => Err(format!(
                "has a message whose `{key}` has a part that is {}, expected {{\"type\": \"text\", \"text\": \"…\"}}",
                kind(part)
            )),
        }
    });
    Ok(texts.collect::<Result<Vec<_>, String>>()?.join("\n"))
}

/// Returns the fields in the order of the record, under their OpenAI names.
fn in_order(
    fields: &Map<String, Value>,
    ordered: &minijinja::Value,
    keys: &Keys,
) -> Vec<(String, minijinja::Value)> {
    let mut pairs: Vec<(String, minijinja::Value)> = Vec::new();
    for key in ordered.try_iter().into_iter().flatten() {
        let name = key.as_str().map(|name| keys.usual(name));
        if let Some(name) = name.filter(|name| fields.contains_key(*name)) {
            let value = ordered.get_item(&key).unwrap_or_default();
            pairs.push((name.to_owned(), value));
        }
    }
    if !pairs.iter().any(|(name, _)| name == "content") {
        pairs.push(("content".into(), minijinja::Value::from("")));
    }
    pairs
}

/// Returns true if a message is learned, which it is unless it has `weight` 0 or `train` false.
fn is_weighted(fields: &Map<String, Value>) -> Result<bool, String> {
    let weight = match fields.get("weight") {
        None => true,
        Some(weight) => match weight.as_f64() {
            Some(0.0) => false,
            Some(1.0) => true,
            _ => {
                return Err(format!(
                    "has a message with `weight` = {weight}: expected 0 or 1"
                ));
            }
        },
    };
    match fields.get("train") {
        None => Ok(weight),
        Some(Value::Bool(train)) => Ok(weight && *train),
        Some(train) => Err(format!(
            "has a message with `train` = {train}: expected true or false"
        )),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(message: Value) -> Result<(Message, RecordNotes), String> {
        let mut notes = RecordNotes::default();
        let ordered = minijinja::Value::from(Serde(&message));
        let message = Message::read(&message, &ordered, &MessageFields::USUAL, &mut notes)?;
        Ok((message, notes))
    }

    /// Checks that text parts are joined by line breaks, and that a part of another type is refused by its name.
    #[test]
    fn parts_of_text_are_joined() {
        let parts =
            json!([{"type": "text", "text": "a"}, "b", {"type": "output_text", "text": "c"}]);
        let (message, _) = read(json!({"role": "user", "content": parts})).unwrap();
        assert_eq!(message.text("content"), "a\nb\nc");
        for (part, said) in [
            (
                json!({"type": "image_url", "image_url": {"url": "x"}}),
                "a part of type `image_url`, which is not text",
            ),
            (
                json!({"type": "refusal", "refusal": "no"}),
                "type `refusal`",
            ),
            (json!(5), "has a part that is `5`"),
            (json!({"type": "text"}), "type `text`"),
        ] {
            let error = read(json!({"role": "user", "content": [part]}))
                .err()
                .unwrap();
            assert!(error.contains(said), "{error}");
        }
    }

    /// Checks that an answer with tool calls only has an empty text, and that any other message without text is
    /// refused.
    #[test]
    fn calls_need_no_text() {
        let calls = json!([{"type": "function", "function": {"name": "f", "arguments": "{}"}}]);
        for content in [json!({}), json!({"content": null})] {
            let mut message = content;
            message["role"] = json!("assistant");
            assert!(
                read(message.clone())
                    .err()
                    .unwrap()
                    .contains("without `content`")
            );
            message["tool_calls"] = calls.clone();
            let (message, _) = read(message).unwrap();
            assert!(message.is_call && message.calls_tools() && message.text("content").is_empty());
            let rendered = serde_json::to_value(message.for_template()).unwrap();
            assert_eq!(
                rendered,
                json!({"role": "assistant", "content": "", "tool_calls": calls})
            );
        }
        let none = json!({"role": "assistant", "tool_calls": []});
        assert!(read(none).is_err());
    }

    /// Checks that ShareGPT's keys and roles are translated to OpenAI's.
    #[test]
    fn share_gpt_messages_are_renamed() {
        for (from, role, is_answer) in [
            ("human", "user", false),
            ("gpt", "assistant", true),
            ("system", "system", false),
            ("function_call", "assistant", true),
            ("observation", "tool", false),
        ] {
            let (message, notes) =
                read(json!({"from": from, "value": "a", "weight": null})).unwrap();
            assert_eq!((message.text("role"), message.text("content")), (role, "a"));
            assert_eq!(message.is_answer, is_answer);
            assert_eq!(notes.renamed_roles.contains_key(from), from != role);
            let rendered = serde_json::to_value(message.for_template()).unwrap();
            assert_eq!(rendered, json!({"role": role, "content": "a"}));
        }
        let error = read(json!({"from": "gpt"})).err().unwrap();
        assert!(error.contains("without `value`"), "{error}");
        // With OpenAI's keys, ShareGPT's role names stay unknown.
        let (_, notes) = read(json!({"role": "observation", "content": "a"})).unwrap();
        assert_eq!(notes.unknown_roles["observation"], 1);
    }
}
