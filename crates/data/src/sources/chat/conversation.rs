//! Conversations as records hold them: messages with their roles and weights, and tools.

use minijinja::value::Serde;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use super::roles::{ASSISTANT, known_role};
use super::segments::MARKS;
use crate::RecordNotes;
use crate::sources::document::Part;
use crate::sources::fields::{MESSAGES, TOOLS, kind};
use crate::sources::notes::count;

/// Keys of a message that are read here; any other is for the template.
const KEYS: [&str; 4] = ["role", "content", "weight", "train"];

/// The messages of a record, and the tools that go with them.
pub(crate) struct Conversation {
    pub(super) messages: Vec<Message>,
    /// A list of tools, as the record has it.
    pub(super) tools: Option<minijinja::Value>,
}

/// A message of a conversation.
pub(super) struct Message {
    /// All its fields, with a role that templates know; those that are null are left out, as `transformers` does.
    pub(super) fields: Map<String, Value>,
    /// Fields in the order of the record: templates write tools and calls in that order.
    ordered: minijinja::Value,
    /// True for a message of the assistant.
    pub(super) is_answer: bool,
    /// True for an answer that is scored.
    pub(super) is_scored: bool,
}

impl Message {
    pub(super) fn text(&self, key: &str) -> &str {
        self.fields
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    /// Keys that only the template can have a use for.
    pub(super) fn further_keys(&self) -> impl Iterator<Item = &String> {
        let keys = self.fields.keys();
        keys.filter(|key| !KEYS.contains(&key.as_str()))
    }

    /// The message as a template gets it.
    pub(super) fn for_template(&self) -> minijinja::Value {
        self.changed(None, &|_| false)
    }

    /// Returns the message with another content.
    pub(super) fn saying(&self, content: String) -> minijinja::Value {
        self.changed(Some(content), &|_| false)
    }

    /// Returns the message without the further keys that are left out.
    pub(super) fn without(&self, left_out: &dyn Fn(&str) -> bool) -> minijinja::Value {
        self.changed(None, left_out)
    }

    fn changed(
        &self,
        mut content: Option<String>,
        left_out: &dyn Fn(&str) -> bool,
    ) -> minijinja::Value {
        let mut pairs = Vec::new();
        for key in self.ordered.try_iter().into_iter().flatten() {
            let Some(name) = key.as_str().filter(|name| self.fields.contains_key(*name)) else {
                continue;
            };
            let value = match name {
                "role" => self.text(name).into(),
                "content" => content
                    .take()
                    .unwrap_or_else(|| self.text(name).to_owned())
                    .into(),
                _ if !KEYS.contains(&name) && left_out(name) => continue,
                _ => self.ordered.get_item(&key).unwrap_or_default(),
            };
            pairs.push((name.to_owned(), value));
        }
        minijinja::Value::from(Serde(Pairs(pairs)))
    }
}

/// A map in order.
struct Pairs(Vec<(String, minijinja::Value)>);

impl Serialize for Pairs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, value)| (key, value)))
    }
}

impl Conversation {
    /// Reads the `messages` and `tools` of a record; `line` is the record as it stands in a file, which has an order.
    ///
    /// # Errors
    /// A message without a role or a text; a weight that is neither 0 nor 1; tools that are no list.
    pub(crate) fn read(
        record: &Value,
        line: Option<&str>,
        notes: &mut RecordNotes,
    ) -> Result<Self, String> {
        let ordered = line.and_then(|line| serde_json::from_str::<minijinja::Value>(line).ok());
        let ordered = ordered.unwrap_or_else(|| minijinja::Value::from(Serde(record)));
        let field = |key: &str| ordered.get_attr(key).unwrap_or_default();
        let messages = record[MESSAGES].as_array().map_or(&[][..], Vec::as_slice);
        let in_order = field(MESSAGES);
        let conversation = Self {
            messages: messages
                .iter()
                .enumerate()
                .map(|(number, message)| {
                    let in_order = in_order.get_item_by_index(number).unwrap_or_default();
                    read_message(message, in_order, notes)
                })
                .collect::<Result<_, String>>()?,
            tools: read_tools(&record[TOOLS], field(TOOLS))?,
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
}

impl Conversation {
    /// Returns true if there are no messages with text.
    pub(crate) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Messages as `role: content` and a line's end, where there is no template: it has no place for tools and names.
    pub(crate) fn plainly(&self, notes: &mut RecordNotes) -> Vec<Part> {
        let mut parts = Vec::new();
        for message in &self.messages {
            parts.push(Part::text(format!("{}: ", message.text("role")), false));
            parts.push(Part::text(
                format!("{}\n", message.text("content")),
                message.is_scored,
            ));
            for key in message.further_keys() {
                count(&mut notes.unused_message_keys, key);
            }
        }
        if self.tools.is_some() {
            count(&mut notes.unused_keys, TOOLS);
        }
        parts
    }
}

fn read_message(
    message: &Value,
    ordered: minijinja::Value,
    notes: &mut RecordNotes,
) -> Result<Message, String> {
    let fields = message
        .as_object()
        .ok_or("has a message that is no object")?;
    let mut fields = fields.clone();
    fields.retain(|_, value| !value.is_null());
    let role = fields.get("role").and_then(Value::as_str);
    let role = role.ok_or("has a message without `role`")?.to_owned();
    if !fields.contains_key("content") {
        return Err("has a message without `content`".into());
    }
    if !fields["content"].is_string() {
        let kind = kind(&fields["content"]);
        return Err(format!(
            "has a message whose `content` is {kind}, expected a text"
        ));
    }
    if Value::Object(fields.clone()).to_string().contains(MARKS) {
        return Err(
            "has a message with one of U+FDD0 to U+FDD3, which are no characters: remove them"
                .into(),
        );
    }
    match known_role(&role) {
        None => count(&mut notes.unknown_roles, &role),
        Some(known) => {
            if known != role {
                count(&mut notes.renamed_roles, &role);
                fields.insert("role".into(), known.into());
            }
        }
    }
    let is_answer = known_role(&role) == Some(ASSISTANT);
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
    Ok(Message {
        fields,
        ordered,
        is_answer,
        is_scored: is_answer && weighted,
    })
}

/// Returns true if a message is to be learned: not with `weight` 0 or `train` false.
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

/// The tools of a record: a list, which is `ordered`, or one written as text, as tables often have it.
fn read_tools(
    tools: &Value,
    ordered: minijinja::Value,
) -> Result<Option<minijinja::Value>, String> {
    let (list, ordered) = match tools {
        Value::Null => return Ok(None),
        Value::String(text) if text.trim().is_empty() => return Ok(None),
        Value::String(text) => {
            let wrong = |error: serde_json::Error| {
                format!("has `tools` that are no JSON ({error}): expected a list")
            };
            let list: Value = serde_json::from_str(text).map_err(wrong)?;
            (list, serde_json::from_str(text).map_err(wrong)?)
        }
        tools => (tools.clone(), ordered),
    };
    match &list {
        Value::Null => return Ok(None),
        // An empty list is how a table writes that there are none.
        Value::Array(list) if list.is_empty() => return Ok(None),
        Value::Array(_) => {}
        _ => return Err("has `tools` that are no list".into()),
    }
    if list.to_string().contains(MARKS) {
        return Err(
            "has `tools` with one of U+FDD0 to U+FDD3, which are no characters: remove them".into(),
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
        let read = Conversation::read(&record, None, &mut notes)?;
        let flags = read.messages.iter();
        let flags = flags.map(|message| (message.is_answer, message.is_scored));
        Ok((flags.collect(), notes))
    }

    /// Every usual name of the assistant is one, in any letter case; unknown roles are counted.
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

    /// `weight` and `train` choose which answers are scored.
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

    /// Tools are a list, as such or as text.
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
            let read = Conversation::read(&record, Some(&line), &mut notes).unwrap();
            // In the order of the line.
            let text = serde_json::to_string(&read.tools).unwrap();
            assert_eq!(text, r#"[{"name":"f","b":1,"a":2}]"#);
        }
        assert!(
            read(talk.clone(), json!({"name": "f"}))
                .err()
                .unwrap()
                .contains("no list")
        );
        assert!(read(talk, json!("[")).err().unwrap().contains("no JSON"));
    }
}
