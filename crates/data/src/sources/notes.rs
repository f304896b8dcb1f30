//! Counts of the keys and roles of records that were not used as they stand.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::sources::chat::roles::known_role;

/// Different keys that are counted by name; further ones are counted together.
const MOST_NAMES: usize = 64;
/// The name under which further keys are counted.
const OTHERS: &str = "(others)";

/// Counts of the unused content of records and messages, by name; part of `dataset.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RecordNotes {
    /// Records with a key that is not used, by key.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub unused_keys: BTreeMap<String, u64>,
    /// Messages with a key that does not change the rendered conversation, by key.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub unused_message_keys: BTreeMap<String, u64>,
    /// Messages whose role was read as another (`gpt` as `assistant`), by the role as it stands.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub renamed_roles: BTreeMap<String, u64>,
    /// Messages of roles that have no known meaning, which are read but not scored, by role.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub unknown_roles: BTreeMap<String, u64>,
    /// The assistant's messages with `weight` 0 or `train` false, which are read but not scored.
    #[serde(skip_serializing_if = "is_zero")]
    pub unweighted_messages: u64,
    /// Conversations in which the assistant says nothing that is scored: they are dropped as empty.
    #[serde(skip_serializing_if = "is_zero")]
    pub without_answer: u64,
    /// Answers whose turn ends with a token that the template's `{% generation %}` leaves out, so that it is not
    /// scored.
    #[serde(skip_serializing_if = "is_zero")]
    pub unlearned_ends: u64,
    /// Files of folders that are of no kind that is read, by the ending of their names.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub other_files: BTreeMap<String, u64>,
    /// Records by the fields that they were read by, where there is more than one way.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub read_by: BTreeMap<String, u64>,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl RecordNotes {
    /// Returns true if nothing was counted.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Adds the counts of others.
    pub(crate) fn add(&mut self, others: Self) {
        let maps = [
            (&mut self.unused_keys, others.unused_keys),
            (&mut self.unused_message_keys, others.unused_message_keys),
            (&mut self.renamed_roles, others.renamed_roles),
            (&mut self.unknown_roles, others.unknown_roles),
            (&mut self.other_files, others.other_files),
            (&mut self.read_by, others.read_by),
        ];
        for (all, counts) in maps {
            for (name, number) in counts {
                add(all, &name, number);
            }
        }
        self.unweighted_messages += others.unweighted_messages;
        self.without_answer += others.without_answer;
        self.unlearned_ends += others.unlearned_ends;
    }

    /// The counts of a whole domain: that all records are read by the same fields needs no note.
    pub(crate) fn settled(mut self) -> Self {
        if self.read_by.len() < 2 {
            self.read_by.clear();
        }
        self
    }

    /// A line for each kind of count, for a person.
    pub fn lines(&self) -> Vec<String> {
        let listed = |what: &str, counts: &BTreeMap<String, u64>| {
            let named = counts
                .iter()
                .map(|(name, count)| format!("`{name}` {count}"));
            let named = named.collect::<Vec<_>>().join(", ");
            (!counts.is_empty()).then(|| format!("{what}: {named}"))
        };
        let counted = |what: &str, count: u64| (count > 0).then(|| format!("{what}: {count}"));
        let renamed = self
            .renamed_roles
            .iter()
            .fold(BTreeMap::new(), |mut all, (name, count)| {
                let known = known_role(name).unwrap_or(name);
                *all.entry(format!("{name}` as `{known}")).or_insert(0) += count;
                all
            });
        [
            listed("keys of records that are not used", &self.unused_keys),
            listed(
                "keys of messages that are not used",
                &self.unused_message_keys,
            ),
            listed("roles read as another", &renamed),
            listed("unknown roles, read but not scored", &self.unknown_roles),
            counted(
                "messages of the assistant that are not scored (`weight` 0 or `train` false)",
                self.unweighted_messages,
            ),
            counted(
                "conversations dropped, since the assistant says nothing that is scored",
                self.without_answer,
            ),
            counted(
                "answers whose end of turn the chat template's `{% generation %}` leaves out: the model does not learn to stop \
                 there; put the token that ends the turn inside the block",
                self.unlearned_ends,
            ),
            listed(
                "files of its folders that are left out, since they are of no kind that is read",
                &self.other_files,
            ),
            listed(
                "records are read by different fields (`text_field` names one for all)",
                &self.read_by,
            ),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// Counts one more of `name`.
pub(crate) fn count(counts: &mut BTreeMap<String, u64>, name: &str) {
    add(counts, name, 1);
}

fn add(counts: &mut BTreeMap<String, u64>, name: &str, number: u64) {
    if let Some(count) = counts.get_mut(name) {
        *count += number;
    } else if counts.len() < MOST_NAMES {
        counts.insert(name.to_owned(), number);
    } else {
        *counts.entry(OTHERS.to_owned()).or_insert(0) += number;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names are listed with their counts, up to a bound.
    #[test]
    fn names_are_counted() {
        let mut notes = RecordNotes::default();
        assert!(notes.is_empty() && notes.lines().is_empty());
        for number in 0..100 {
            count(&mut notes.unused_keys, &format!("key{number}"));
            count(&mut notes.renamed_roles, "gpt");
        }
        assert_eq!(notes.unused_keys.len(), MOST_NAMES + 1);
        assert_eq!(notes.unused_keys[OTHERS], 36);
        assert_eq!(
            notes.lines()[1],
            "roles read as another: `gpt` as `assistant` 100"
        );
    }
}
