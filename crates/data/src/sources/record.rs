//! A record of `.jsonl`, or a row of `.parquet`, as the text of a document.

use std::cell::RefCell;

use serde_json::Value;

use crate::sources::chat::{ChatTemplate, Conversation};
use crate::sources::document::{Each, Part, SourceDocument};
use crate::sources::fields::{FIELDS, KNOWN, LISTED, MESSAGES, PAIRS, TOOLS, group, kind};
use crate::sources::notes::count;
use crate::sources::pieces::{LONGEST, cut};
use crate::{DataError, RecordNotes};

/// Options for reading the records of a domain.
#[derive(Clone, Copy, Default)]
pub(crate) struct Records<'a> {
    /// The field that holds the text, where it is named.
    pub(crate) text_field: Option<&'a str>,
    /// The field whose value names the group of a record.
    pub(crate) group_field: Option<&'a str>,
    /// Chat template that renders `messages`.
    pub(crate) template: Option<&'a ChatTemplate>,
    /// Counts keys and roles that are not used as they stand.
    pub(crate) notes: Option<&'a RefCell<RecordNotes>>,
}

/// A document as a record gives it.
#[derive(Debug, PartialEq)]
pub(crate) struct Record {
    /// Parts of the text.
    pub(crate) parts: Vec<Part>,
    /// The value that names its group, where a field does.
    pub(crate) group: Option<String>,
}

impl<'a> Records<'a> {
    /// The fields that a record is read by, given which are texts and which are messages; `None` where there are none
    /// of those that are known.
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
            .or_else(|| is_messages(MESSAGES).then(|| vec![MESSAGES]))
    }

    /// Reads a JSON record; `line` is the record as it stands in a file: its fields have an order there, which
    /// templates keep.
    pub(crate) fn read(&self, record: &Value, line: Option<&str>) -> Result<Record, String> {
        Ok(Record {
            parts: self.parts_of_line(record, line)?,
            group: self
                .group_field
                .map(|name| group(record, name))
                .transpose()?,
        })
    }

    /// The parts of a JSON record, by the fields that it has. A prompt is parted from its response by a line's end,
    /// unless one of them has white space there; so are an `instruction`, its `input` and the `output`. Messages are
    /// rendered by the tokenizer's chat template; where it has none, as `role: content` and a line's end.
    #[cfg(test)]
    pub(crate) fn parts(&self, record: &Value) -> Result<Vec<Part>, String> {
        self.parts_of_line(record, None)
    }

    /// Returns the parts of a record; `line` is the record as written in the file.
    fn parts_of_line(&self, record: &Value, line: Option<&str>) -> Result<Vec<Part>, String> {
        let is_null = |name: &str| record.get(name).is_some_and(Value::is_null);
        let field = |name: &str| match record.get(name) {
            Some(Value::Null) => Some(""),
            value => value.and_then(Value::as_str),
        };
        let messages = record.get(MESSAGES).and_then(Value::as_array);
        let is_text = |name: &str| field(name).is_some() && !is_null(name);
        // A field that is null is an empty text, or has no messages; it is only read where there are no others.
        let found = self
            .fields(&is_text, &|_| messages.is_some())
            .or_else(|| self.fields(&|name| field(name).is_some(), &|name| is_null(name)));
        let names = found.ok_or_else(|| self.strange(record))?;
        let mut notes = RecordNotes::default();
        let texts: Vec<&str> = names.iter().copied().filter_map(field).collect();
        let is_conversation = texts.is_empty();
        let unused = |key: &&String| {
            let is_read = names.contains(&key.as_str());
            let is_tools = is_conversation && key.as_str() == TOOLS;
            let is_group = self.group_field == Some(key.as_str());
            !(is_read || is_tools || is_group)
        };
        for key in record
            .as_object()
            .into_iter()
            .flat_map(|fields| fields.keys())
            .filter(unused)
        {
            count(&mut notes.unused_keys, key);
        }
        count(&mut notes.read_by, &names.join("`, `"));
        let parts = self.parts_of((record, line), &texts, &mut notes)?;
        if let Some(all) = self.notes {
            all.borrow_mut().add(notes);
        }
        Ok(parts)
    }

    /// The reason why a record makes no document: a value of another type, or the fields that it has.
    fn strange(&self, record: &Value) -> String {
        let Some(fields) = record.as_object() else {
            let mend = match record {
                Value::Array(_) => ": `jq -c '.[]'` makes a line of each record of a list",
                _ => "",
            };
            return format!(
                "is {}, expected an object such as {{\"text\": \"…\"}}{mend}",
                kind(record)
            );
        };
        let named = self.text_field.map(|name| [name]);
        let read = named.as_ref().map_or(&KNOWN[..], |named| &named[..]);
        let wrong = read.iter().find_map(|name| {
            let value = fields.get(*name)?;
            let expected = match *name == MESSAGES {
                true => "a list of messages",
                false => "a text",
            };
            let is_fine = match *name == MESSAGES {
                true => value.is_array(),
                false => value.is_string(),
            };
            (!is_fine).then(|| format!("`{name}` is {}, expected {expected}", kind(value)))
        });
        if let Some(wrong) = wrong {
            return wrong;
        }
        let mut listed: Vec<String> = fields
            .keys()
            .take(LISTED)
            .map(|key| format!("`{key}`"))
            .collect();
        if fields.len() > LISTED {
            listed.push(format!("{} more", fields.len() - LISTED));
        }
        let has = match listed.is_empty() {
            true => "no field".to_owned(),
            false => listed.join(", "),
        };
        match self.text_field {
            Some(name) => format!("has no field `{name}`, as `text_field` says: it has {has}"),
            None => format!(
                "has neither {FIELDS}: it has {has}; name the one that holds the text in `text_field`"
            ),
        }
    }

    /// Counts a field that `records` of a file have, and that is not used.
    #[cfg(feature = "parquet")]
    pub(crate) fn note_unused(&self, field: &str, records: u64) {
        if let Some(notes) = self.notes {
            let unused_keys = [(field.to_owned(), records)].into();
            notes.borrow_mut().add(RecordNotes {
                unused_keys,
                ..RecordNotes::default()
            });
        }
    }

    fn parts_of(
        &self,
        record: (&Value, Option<&str>),
        texts: &[&str],
        notes: &mut RecordNotes,
    ) -> Result<Vec<Part>, String> {
        match *texts {
            [text] => Ok(vec![Part::text(text, true)]),
            [prompt, response] => Ok(pair(prompt, response)),
            [instruction, input, output] if input.trim().is_empty() => {
                Ok(pair(instruction, output))
            }
            [instruction, input, output] => Ok(pair(&(apart(instruction, input) + input), output)),
            _ => self.conversation(record, notes),
        }
    }

    fn conversation(
        &self,
        (record, line): (&Value, Option<&str>),
        notes: &mut RecordNotes,
    ) -> Result<Vec<Part>, String> {
        let conversation = Conversation::read(record, line, notes)?;
        match self.template {
            _ if conversation.is_empty() => Ok(Vec::new()),
            Some(template) => template.parts(conversation, notes),
            None => Ok(conversation.plainly(notes)),
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

/// Hands the document of the `number`-th record on, a huge plain text in pieces.
pub(crate) fn emit(record: Record, number: u64, each: &mut Each) -> Result<(), DataError> {
    let Record { parts, group } = record;
    if let [
        Part {
            text, scored: true, ..
        },
    ] = &parts[..]
    {
        for (piece, text) in cut(text, LONGEST).into_iter().enumerate() {
            each(Ok(SourceDocument {
                group: group.clone(),
                ..SourceDocument::plain(text.to_owned(), piece as u64, number)
            }))?;
        }
        return Ok(());
    }
    each(Ok(SourceDocument {
        parts,
        piece: 0,
        record: number,
        group,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(json: &str, field: Option<&str>) -> Result<Vec<(String, bool)>, String> {
        let records = Records {
            text_field: field,
            ..Records::default()
        };
        let parts = records.parts(&serde_json::from_str(json).unwrap())?;
        Ok(parts
            .into_iter()
            .map(|part| (part.text, part.scored))
            .collect())
    }

    /// Each kind of record gives the text that is learned, and marks what is not.
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
        assert_eq!(
            record(
                r#"{"messages": [{"role": "human", "content": "q"}, {"role": "GPT", "content": "r", "weight": 0}]}"#,
                None
            ),
            Ok(vec![
                owned("user: ", false),
                owned("q\n", false),
                owned("assistant: ", false),
                owned("r\n", false)
            ])
        );
        for (line, field, said) in [
            (r#"{"body": "b", "id": 1}"#, None, "neither `text`"),
            (
                r#"{"body": "b", "id": 1}"#,
                None,
                "it has `body`, `id`; name the one",
            ),
            (r#"{"text": 5}"#, None, "`text` is `5`, expected a text"),
            (
                r#"{"prompt": [], "response": "r"}"#,
                None,
                "`prompt` is a list, expected a text",
            ),
            (
                r#"{"messages": "m"}"#,
                None,
                "`messages` is a text, expected a list of messages",
            ),
            (
                r#"[{"text": "a"}]"#,
                None,
                "is a list, expected an object such as",
            ),
            (r#""text""#, None, "is a text, expected an object"),
            (
                r#"{"text": "a"}"#,
                Some("body"),
                "has no field `body`, as `text_field` says: it has `text`",
            ),
            (
                r#"{"body": {}}"#,
                Some("body"),
                "`body` is an object, expected a text",
            ),
            ("{}", None, "it has no field;"),
        ] {
            let error = record(line, field).unwrap_err();
            assert!(error.contains(said), "{line}: {error}");
        }
    }

    /// Keys that are not used are counted, each time.
    #[test]
    fn unused_keys_are_counted() {
        let notes = RefCell::default();
        let records = Records {
            notes: Some(&notes),
            ..Records::default()
        };
        let lines = [
            r#"{"text": "a", "id": 1, "url": "u"}"#,
            r#"{"prompt": "q", "response": "r", "id": 2, "tools": []}"#,
            r#"{"messages": [{"role": "assistant", "content": "r", "name": "n"}], "tools": [{}]}"#,
        ];
        for line in lines {
            records.parts(&serde_json::from_str(line).unwrap()).unwrap();
        }
        let notes = notes.into_inner();
        let counts: Vec<(&str, u64)> = notes
            .unused_keys
            .iter()
            .map(|(key, count)| (key.as_str(), *count))
            .collect();
        assert_eq!(counts, [("id", 2), ("tools", 2), ("url", 1)]);
        assert_eq!(notes.unused_message_keys["name"], 1);
    }
}
