//! Conversion of a record of `.jsonl`, or a row of `.parquet`, to the text of a document.

use std::cell::RefCell;

use serde_json::Value;

use crate::sources::chat::{ChatTemplate, Conversation};
use crate::sources::document::{DocumentSink, Part, SourceDocument};
use crate::sources::fields::group;
use crate::sources::layout::{FieldNames, FieldPredicates, Layout};
use crate::sources::notes::count;
use crate::sources::pieces::{LONGEST, cut};
use crate::{DataError, PairForm, RecordNotes};

/// Options for reading the records of a domain.
#[derive(Clone, Copy, Default)]
pub(crate) struct Records<'a> {
    /// Name of the field with the text; `None` if the config does not set it.
    pub(crate) text_field: Option<&'a str>,
    /// Names of fields by their meaning; `None` if the config does not set them.
    pub(crate) fields: Option<&'a FieldNames>,
    /// Form of a prompt with its response.
    pub(crate) pairs: PairForm,
    /// Field whose value names the group of a record.
    pub(crate) group_field: Option<&'a str>,
    /// Chat template that renders `messages`.
    pub(crate) template: Option<&'a ChatTemplate>,
    /// Counts of ignored or renamed keys and roles.
    pub(crate) notes: Option<&'a RefCell<RecordNotes>>,
}

/// A document made from a record.
#[derive(Debug, PartialEq)]
pub(crate) struct Record {
    /// Parts of the document's text.
    pub(crate) parts: Vec<Part>,
    /// Value that names the group, if a field does.
    pub(crate) group: Option<String>,
    /// Names of the fields that were read, as text for messages.
    pub(crate) read_by: String,
}

impl<'a> Records<'a> {
    /// Returns the layout of records with these fields; `None` if there are no known ones.
    pub(crate) fn layout_of(&self, has: &FieldPredicates) -> Option<Layout<'a>> {
        match (self.text_field, self.fields) {
            (Some(name), _) => (has.text)(name).then_some(Layout::Text(name)),
            (None, Some(fields)) => fields.layout(has),
            (None, None) => Layout::usual(has),
        }
    }

    /// Returns the layout of a record. A null field counts as an empty text or an empty list of messages, but only if
    /// no other layout fits.
    pub(crate) fn layout(&self, record: &Value) -> Option<Layout<'a>> {
        let text = |name: &str| record.get(name).is_some_and(Value::is_string);
        let messages = |name: &str| record.get(name).is_some_and(Value::is_array);
        let null = |name: &str| record.get(name).is_some_and(Value::is_null);
        let has = FieldPredicates {
            text: &text,
            messages: &messages,
        };
        self.layout_of(&has).or_else(|| {
            self.layout_of(&FieldPredicates {
                text: &|name| text(name) || null(name),
                messages: &null,
            })
        })
    }

    /// Reads a JSON record. `line` is the standard JSON text of the record, or of its nested fields, which gives the
    /// order of their keys for templates.
    pub(crate) fn read(&self, record: &Value, line: Option<&str>) -> Result<Record, String> {
        let layout = self.layout(record).ok_or_else(|| self.strange(record))?;
        let read_by = layout.names().join("`, `");
        let mut notes = RecordNotes::default();
        self.count_unused(record, &layout, &mut notes);
        count(&mut notes.read_by, &read_by);
        let parts = self.parts_of(record, line, layout, &mut notes)?;
        let group = self.group_field.map(|name| group(record, name));
        if let Some(all) = self.notes {
            all.borrow_mut().add(notes);
        }
        Ok(Record {
            parts,
            group: group.transpose()?,
            read_by,
        })
    }

    /// Returns the parts of a JSON record, by its fields. A line break separates a prompt from its response, unless
    /// one of them has white space there; the same holds for `instruction`, `input` and `output`. Messages are
    /// rendered by the chat template; without one, each becomes a line `role: content`.
    #[cfg(test)]
    pub(crate) fn parts(&self, record: &Value) -> Result<Vec<Part>, String> {
        self.read(record, None).map(|record| record.parts)
    }

    /// Counts the keys of a record that its layout does not use.
    fn count_unused(&self, record: &Value, layout: &Layout, notes: &mut RecordNotes) {
        let names = layout.names();
        let tools = match layout {
            Layout::Messages(fields) => Some(fields.tools),
            _ => None,
        };
        for key in record
            .as_object()
            .into_iter()
            .flat_map(|fields| fields.keys())
        {
            let is_read = names.contains(&key.as_str());
            let is_tools = tools == Some(key.as_str());
            let is_group = self.group_field == Some(key.as_str());
            if !(is_read || is_tools || is_group) {
                count(&mut notes.unused_keys, key);
            }
        }
    }

    /// Counts a field that `records` records of a file have and that is not used.
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
        record: &Value,
        line: Option<&str>,
        layout: Layout,
        notes: &mut RecordNotes,
    ) -> Result<Vec<Part>, String> {
        let text = |name: &str| record.get(name).and_then(Value::as_str).unwrap_or_default();
        match layout {
            Layout::Text(name) => Ok(vec![Part::text(text(name), true)]),
            Layout::Pair {
                system,
                prompt,
                response,
            } => {
                let system = system.map(text).unwrap_or_default();
                self.pair(system, text(prompt), text(response), notes)
            }
            Layout::Instruction {
                system,
                instruction,
                input,
                output,
            } => {
                let system = system.map(text).unwrap_or_default();
                let input = input.map(text).filter(|input| !input.trim().is_empty());
                let prompt = match input {
                    Some(input) => joined(text(instruction), input),
                    None => text(instruction).to_owned(),
                };
                self.pair(system, &prompt, text(output), notes)
            }
            Layout::Messages(fields) => {
                let conversation = Conversation::read(record, line, &fields, notes)?;
                self.conversation(conversation, notes)
            }
        }
    }

    /// Returns the parts of a prompt and its response, as text or as a conversation.
    fn pair(
        &self,
        system: &str,
        prompt: &str,
        response: &str,
        notes: &mut RecordNotes,
    ) -> Result<Vec<Part>, String> {
        match self.pairs {
            PairForm::Text => {
                let prompt = match system.trim().is_empty() {
                    true => prompt.to_owned(),
                    false => joined(system, prompt),
                };
                let parted = apart(&prompt, response);
                notes.pairs += 1;
                notes.parted_pairs += u64::from(parted.len() > prompt.len());
                Ok(vec![Part::text(parted, false), Part::text(response, true)])
            }
            PairForm::Chat => {
                let exchange = Conversation::exchange(system, prompt, response, notes)?;
                self.conversation(exchange, notes)
            }
        }
    }

    fn conversation(
        &self,
        conversation: Conversation,
        notes: &mut RecordNotes,
    ) -> Result<Vec<Part>, String> {
        match self.template {
            _ if conversation.is_empty() => Ok(Vec::new()),
            Some(template) => {
                notes.templated += 1;
                template.parts(conversation, notes)
            }
            None => Ok(conversation.plainly(notes)),
        }
    }
}

/// Returns two texts as one, parted by white space.
fn joined(first: &str, second: &str) -> String {
    apart(first, second) + second
}

/// Returns `first`, followed by a line break unless there is white space between the two texts already.
pub(crate) fn apart(first: &str, second: &str) -> String {
    let white = first.ends_with(char::is_whitespace) || second.starts_with(char::is_whitespace);
    let end = if white { "" } else { "\n" };
    format!("{first}{end}")
}

/// Passes the document of the `number`-th record to `each`; a very long plain text is passed in pieces.
pub(crate) fn emit(record: Record, number: u64, each: &mut DocumentSink) -> Result<(), DataError> {
    let Record { parts, group, .. } = record;
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

    /// Checks that each kind of record gives the text to learn, with the rest marked as not scored.
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

    /// Checks that every unused key of every record is counted.
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
