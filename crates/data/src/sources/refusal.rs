//! Error messages for records that can't be turned into documents.

use serde_json::{Map, Value};

use crate::sources::fields::{CONVERSATIONS, FIELDS, KNOWN, LISTED, MESSAGES, kind};
use crate::sources::layout::FieldNames;
use crate::sources::record::Records;

/// Meanings of record fields that are optional.
const OPTIONAL: [&str; 5] = ["input", "system", "tools", "role", "content"];
/// Fields of a message and of the tools, by meaning. Tools may be a list or a text.
const IN_MESSAGES: [&str; 3] = ["role", "content", "tools"];

impl Records<'_> {
    /// Returns the reason why a record can't be turned into a document: a value of a wrong type, or no known
    /// combination of fields.
    pub(super) fn strange(&self, record: &Value) -> String {
        let Some(fields) = record.as_object() else {
            let advice = match record {
                Value::Array(_) => ": name the file `.json`, which may hold a list of records",
                _ => "",
            };
            return format!(
                "is {}, expected an object such as {{\"text\": \"…\"}}{advice}",
                kind(record)
            );
        };
        if let Some(wrong) = self.wrong_type(fields) {
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
        let named = self.fields.into_iter().flat_map(FieldNames::named);
        let mut missing = named.filter(|(_, name)| !fields.contains_key(*name));
        match (
            self.text_field,
            missing.find(|(meaning, _)| !OPTIONAL.contains(meaning)),
        ) {
            (Some(name), _) => format!("has no field `{name}`, as `text_field` says: it has {has}"),
            (None, Some((meaning, name))) => {
                format!("has no field `{name}`, as `fields.{meaning}` says: it has {has}")
            }
            (None, None) => format!(
                "has neither {FIELDS}: it has {has}; name the one that holds the text in `text_field`, or a prompt and its response \
                 in `fields`"
            ),
        }
    }

    /// Returns a message about a known field with a value of a wrong type, if there is one.
    fn wrong_type(&self, fields: &Map<String, Value>) -> Option<String> {
        let usual = KNOWN.map(|name| (name, name == MESSAGES || name == CONVERSATIONS));
        let named: Vec<(&str, bool)> = match (self.text_field, self.fields) {
            (Some(name), _) => vec![(name, false)],
            (None, Some(names)) => {
                let of_record = names
                    .named()
                    .filter(|(meaning, _)| !IN_MESSAGES.contains(meaning));
                of_record
                    .map(|(meaning, name)| (name, meaning == "messages"))
                    .collect()
            }
            (None, None) => usual.to_vec(),
        };
        named.into_iter().find_map(|(name, is_list)| {
            let value = fields.get(name)?;
            let (expected, is_fine) = match is_list {
                true => ("a list of messages", value.is_array()),
                false => ("a text", value.is_string()),
            };
            (!is_fine).then(|| format!("`{name}` is {}, expected {expected}", kind(value)))
        })
    }
}
