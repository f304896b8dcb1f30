//! Conversations in records: messages with roles and weights, and tools.

use minijinja::value::Serde;
use serde_json::{Value, json};

use super::message::Message;
use super::ordered::parse_in_order;
use super::roles::ASSISTANT;
use super::segments::MARKS;
use crate::RecordNotes;
use crate::sources::layout::MessageFields;

/// Messages of a conversation, and its tools.
pub(crate) struct Conversation {
    pub(super) messages: Vec<Message>,
    /// List of tools, as in the record.
    pub(super) tools: Option<minijinja::Value>,
}

impl Conversation {
    /// Reads the messages and the tools of a record. `line` is the record's JSON text, which gives the order of the
    /// keys.
    ///
    /// # Errors
    /// Fails if a message has no role or no text, if a weight is neither 0 nor 1, or if `tools` is not a list.
    pub(crate) fn read(
        record: &Value,
        line: Option<&str>,
        fields: &MessageFields,
        notes: &mut RecordNotes,
    ) -> Result<Self, String> {
        let ordered = match line {
            Some(line) => parse_in_order(line)?,
            None => minijinja::Value::from(Serde(record)),
        };
        let field = |key: &str| ordered.get_attr(key).unwrap_or_default();
        let messages = record[fields.list]
            .as_array()
            .map_or(&[][..], Vec::as_slice);
        let in_order = field(fields.list);
        let mut all = Vec::new();
        for (number, message) in messages.iter().enumerate() {
            let in_order = in_order.get_item_by_index(number).unwrap_or_default();
            all.push(Message::read(message, &in_order, fields, notes)?);
        }
        let system = fields.system.and_then(|name| record[name].as_str());
        if let Some(system) = system.filter(|text| !text.trim().is_empty() && !all.is_empty()) {
            if all[0].text("role") == "system" {
                return Err("has a system prompt beside its messages, and one as their first: leave one of them out".into());
            }
            if system.contains(MARKS) {
                return Err("has a system prompt with one of U+FDD0 to U+FDD3, which are not characters: remove them".into());
            }
            all.insert(0, Message::system(system));
        }
        let conversation = Self {
            messages: all,
            tools: read_tools(&record[fields.tools], field(fields.tools))?,
        };
        if !conversation.messages.is_empty()
            && !conversation
                .messages
                .iter()
                .any(|message| message.is_scored)
        {
            notes.without_answer += 1;
        }
        Ok(conversation)
    }

    /// Creates a conversation of one prompt and its response, after a system prompt unless it is blank.
    ///
    /// # Errors
    /// Fails if a text has one of the characters U+FDD0 to U+FDD3.
    pub(crate) fn exchange(
        system: &str,
        prompt: &str,
        response: &str,
        notes: &mut RecordNotes,
    ) -> Result<Self, String> {
        let said = |role: &str, content: &str| json!({ "role": role, "content": content });
        let mut messages = vec![said("user", prompt), said(ASSISTANT, response)];
        if !system.trim().is_empty() {
            messages.insert(0, said("system", system));
        }
        let fields = MessageFields::USUAL;
        Self::read(&json!({ fields.list: messages }), None, &fields, notes)
    }

    /// Returns true if no message has text.
    pub(crate) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }
}

/// Reads the tools of a record: a list (`ordered` is the same list with its keys in order), or a list as JSON text,
/// as tables often have it.
fn read_tools(
    tools: &Value,
    ordered: minijinja::Value,
) -> Result<Option<minijinja::Value>, String> {
    let (list, ordered) = match tools {
        Value::Null => return Ok(None),
        Value::String(text) if text.trim().is_empty() => return Ok(None),
        Value::String(text) => {
            let wrong = |error: serde_json::Error| {
                format!("has `tools` that are not JSON ({error}): expected a list")
            };
            let list: Value = serde_json::from_str(text).map_err(wrong)?;
            (list, parse_in_order(text)?)
        }
        tools => (tools.clone(), ordered),
    };
    match &list {
        Value::Null => return Ok(None),
        // In a table, an empty list means that there are no tools.
        Value::Array(list) if list.is_empty() => return Ok(None),
        Value::Array(_) => {}
        _ => return Err("has `tools` that are not a list".into()),
    }
    if list.to_string().contains(MARKS) {
        return Err(
            "has `tools` with one of U+FDD0 to U+FDD3, which are not characters: remove them"
                .into(),
        );
    }
    Ok(Some(ordered))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(messages: Value, tools: Value) -> Result<(Vec<(bool, bool)>, RecordNotes), String> {
        let mut notes = RecordNotes::default();
        let record = json!({"messages": messages, "tools": tools});
        let read = Conversation::read(&record, None, &MessageFields::USUAL, &mut notes)?;
        let flags = read.messages.iter();
        let flags = flags.map(|message| (message.is_answer, message.is_scored));
        Ok((flags.collect(), notes))
    }

    /// Checks that the usual names of the assistant are recognized in any letter case, and that unknown roles are
    /// counted.
    #[test]
    fn roles_are_known_by_their_usual_names() {
        for role in ["assistant", "gpt", "model", "Assistant", "bot", "GPT"] {
            let talk = json!([{"role": "human", "content": "q"}, {"role": role, "content": "a"}]);
            let (flags, notes) = read(talk, Value::Null).unwrap();
            assert_eq!(flags, [(false, false), (true, true)], "{role}");
            assert_eq!(
                notes.renamed_roles.len(),
                if role == "assistant" { 1 } else { 2 }
            );
            assert_eq!(notes.without_answer, 0);
        }
        let (flags, notes) =
            read(json!([{"role": "narrator", "content": "q"}]), Value::Null).unwrap();
        assert_eq!(flags, [(false, false)]);
        assert_eq!(
            (notes.unknown_roles["narrator"], notes.without_answer),
            (1, 1)
        );
    }

    /// Checks that `weight` and `train` decide whether an answer is scored.
    #[test]
    fn weights_choose_the_answers() {
        let answer =
            |key: &str, value: Value| json!({"role": "assistant", "content": "a", key: value});
        let talk = json!([
            answer("weight", json!(0)),
            answer("weight", json!(1)),
            answer("train", json!(false)),
            answer("train", json!(true)),
            answer("weight", Value::Null),
            answer("weight", json!(0.0)),
        ]);
        let (flags, notes) = read(talk, Value::Null).unwrap();
        let scored: Vec<bool> = flags.iter().map(|flags| flags.1).collect();
        assert_eq!(scored, [false, true, false, true, true, false]);
        assert_eq!(notes.unweighted_messages, 3);
        for (key, value) in [
            ("weight", json!(0.5)),
            ("weight", json!("0")),
            ("train", json!(0)),
        ] {
            let error = read(json!([answer(key, value)]), Value::Null)
                .err()
                .unwrap();
            assert!(error.contains(&format!("`{key}`")), "{error}");
        }
    }

    /// Checks that tools can be a list or the JSON text of a list.
    #[test]
    fn tools_are_a_list() {
        let talk = json!([{"role": "user", "content": "q"}]);
        let mut notes = RecordNotes::default();
        for tools in [
            r#"[{"name": "f", "b": 1, "a": 2}]"#,
            r#""[{\"name\": \"f\", \"b\": 1, \"a\": 2}]""#,
        ] {
            let line = format!(r#"{{"messages": {talk}, "tools": {tools}}}"#);
            let record = serde_json::from_str(&line).unwrap();
            let usual = &MessageFields::USUAL;
            let read = Conversation::read(&record, Some(&line), usual, &mut notes).unwrap();
            // The keys keep their order in the line.
            let text = serde_json::to_string(&read.tools).unwrap();
            assert_eq!(text, r#"[{"name":"f","b":1,"a":2}]"#);
        }
        assert!(
            read(talk.clone(), json!({"name": "f"}))
                .err()
                .unwrap()
                .contains("not a list")
        );
        assert!(read(talk, json!("[")).err().unwrap().contains("not JSON"));
    }
}
