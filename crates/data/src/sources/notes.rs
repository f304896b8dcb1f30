//! Counts of the record keys and roles that were ignored or renamed.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::sources::chat::roles::known_share_gpt_role;
use crate::sources::kind::conversion_of;

/// Maximum number of keys that are counted by name; further ones are counted together.
const MOST_NAMES: usize = 64;
/// Name under which keys beyond the limit are counted together.
const OTHERS: &str = "(others)";

/// Counts of what was ignored or renamed in files, records and messages, by name; part of `dataset.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RecordNotes {
    /// Number of records with an ignored key, by key.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub unused_keys: BTreeMap<String, u64>,
    /// Number of messages with a key that does not change the rendered conversation, by key.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub unused_message_keys: BTreeMap<String, u64>,
    /// Number of messages whose role was read as another one (`gpt` as `assistant`), by the original role.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub renamed_roles: BTreeMap<String, u64>,
    /// Number of messages with an unknown role, which are read but not scored, by role.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub unknown_roles: BTreeMap<String, u64>,
    /// Number of assistant messages with `weight` 0 or `train` false, which are read but not scored.
    #[serde(skip_serializing_if = "is_zero")]
    pub unweighted_messages: u64,
    /// Number of conversations without a scored message of the assistant, which are dropped as empty.
    #[serde(skip_serializing_if = "is_zero")]
    pub without_answer: u64,
    /// Number of answers whose end token is outside of the template's `{% generation %}` block, so that it is not
    /// scored.
    #[serde(skip_serializing_if = "is_zero")]
    pub unlearned_ends: u64,
    /// Number of files in folders that were skipped because their kind can't be read, by extension.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub other_files: BTreeMap<String, u64>,
    /// Number of files read as text although they are neither `.txt` nor `.md`, by extension.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub text_files: BTreeMap<String, u64>,
    /// Number of files skipped because `extensions` does not name their extension, by extension.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub unlisted_files: BTreeMap<String, u64>,
    /// Number of `.json`, `.csv` and `.tsv` files in folders that were skipped because their records have no known
    /// fields.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub recordless_files: BTreeMap<String, u64>,
    /// Number of `.json`, `.csv` and `.tsv` files in folders that were skipped because they are not valid.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub broken_files: BTreeMap<String, u64>,
    /// The first of these files, each with its error.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub broken: Vec<String>,
    /// Number of files in folders that were skipped because they belong to a tokenizer, such as its merges, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tokenizer_files: BTreeMap<String, u64>,
    /// Number of skipped hidden files and folders, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub hidden: BTreeMap<String, u64>,
    /// Number of records by the names of the fields that were read, unless this is just `text`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub read_by: BTreeMap<String, u64>,
    /// The first records with another layout than the first record of their file, with their lines.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mixed: Vec<String>,
    /// Number of answers whose tool calls are written by the chat template and therefore not scored.
    #[serde(skip_serializing_if = "is_zero")]
    pub unscored_calls: u64,
    /// Number of answers with tool calls that the chat template does not write.
    #[serde(skip_serializing_if = "is_zero")]
    pub unwritten_calls: u64,
    /// Number of records with a prompt and its response, outside of conversations.
    #[serde(skip_serializing_if = "is_zero")]
    pub pairs: u64,
    /// Number of these records whose prompt and response are parted by an inserted line break.
    #[serde(skip_serializing_if = "is_zero")]
    pub parted_pairs: u64,
    /// Number of conversations that the chat template rendered.
    #[serde(skip_serializing_if = "is_zero")]
    pub templated: u64,
    /// Number of separators between documents that were found in text files.
    #[serde(skip)]
    pub separators: u64,
    /// Number of conversations that are written as lines `role: content`, because the tokenizer has no chat template.
    #[serde(skip_serializing_if = "is_zero")]
    pub plain_conversations: u64,
}

/// Maximum number of mixed layouts that are listed.
const MOST_MIXED: usize = 10;
/// Maximum number of files that are not valid and are listed with their error.
const MOST_BROKEN: usize = 3;

/// Watcher of the layouts of the records in one file.
pub(crate) struct LayoutWatch<'a> {
    path: &'a Path,
    notes: Option<&'a RefCell<RecordNotes>>,
    /// Layouts of the records seen so far, in the order of their first record.
    seen: Vec<String>,
}

impl<'a> LayoutWatch<'a> {
    pub(crate) fn new(path: &'a Path, notes: Option<&'a RefCell<RecordNotes>>) -> Self {
        let seen = Vec::new();
        Self { path, notes, seen }
    }

    /// Notes the record in `line` if its layout is new in the file.
    pub(crate) fn see(&mut self, layout: &str, line: u64) {
        if self.seen.iter().any(|seen| seen == layout) {
            return;
        }
        if let Some((first, notes)) = self.seen.first().zip(self.notes) {
            let mixed = &mut notes.borrow_mut().mixed;
            if mixed.len() < MOST_MIXED {
                let path = self.path.display();
                mixed.push(format!(
                    "`{path}:{line}` is the first record read by `{layout}`; the first of the file is read by `{first}`"
                ));
            }
        }
        self.seen.push(layout.to_owned());
    }
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl RecordNotes {
    /// Returns true if nothing was counted.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Adds the counts of `others` to these counts.
    pub(crate) fn add(&mut self, others: Self) {
        let maps = [
            (&mut self.unused_keys, others.unused_keys),
            (&mut self.unused_message_keys, others.unused_message_keys),
            (&mut self.renamed_roles, others.renamed_roles),
            (&mut self.unknown_roles, others.unknown_roles),
            (&mut self.other_files, others.other_files),
            (&mut self.text_files, others.text_files),
            (&mut self.unlisted_files, others.unlisted_files),
            (&mut self.recordless_files, others.recordless_files),
            (&mut self.broken_files, others.broken_files),
            (&mut self.tokenizer_files, others.tokenizer_files),
            (&mut self.hidden, others.hidden),
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
        self.unscored_calls += others.unscored_calls;
        self.unwritten_calls += others.unwritten_calls;
        self.pairs += others.pairs;
        self.parted_pairs += others.parted_pairs;
        self.templated += others.templated;
        self.separators += others.separators;
        self.plain_conversations += others.plain_conversations;
        self.mixed.extend(others.mixed);
        self.mixed.truncate(MOST_MIXED);
        self.broken.extend(others.broken);
        self.broken.truncate(MOST_BROKEN);
    }

    /// Counts a file that is skipped because it is not valid.
    pub(crate) fn add_broken(&mut self, ending: &str, error: String) {
        count(&mut self.broken_files, ending);
        if self.broken.len() < MOST_BROKEN {
            self.broken.push(error);
        }
    }

    /// Returns the final counts of a domain. Drops the note that all records were read by `text`, which is the usual
    /// case.
    pub(crate) fn settled(mut self) -> Self {
        if self.read_by.keys().all(|layout| layout == "text") {
            self.read_by.clear();
        }
        self
    }

    /// Returns the counts as lines of text, one per kind of count.
    pub fn lines(&self) -> Vec<String> {
        let counted = |what: &str, count: u64| (count > 0).then(|| format!("{what}: {count}"));
        let renamed = self
            .renamed_roles
            .iter()
            .fold(BTreeMap::new(), |mut all, (name, count)| {
                let known = known_share_gpt_role(name).unwrap_or(name);
                *all.entry(format!("{name}` as `{known}")).or_insert(0) += count;
                all
            });
        let read_by = match self.read_by.len() {
            0 | 1 => "records are read by",
            _ => "records are read by different fields (`text_field` names one for all)",
        };
        let lines = [
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
            counted(
                "answers with tool calls that are read but not scored, since the chat template writes them: put \
                 `{% generation %}` around the assistant's turn in the template to learn them",
                self.unscored_calls,
            ),
            counted(
                "answers with tool calls that the chat template does not write: their text alone is learned, and one without \
                 text is not scored; take a tokenizer whose template writes calls to learn them",
                self.unwritten_calls,
            ),
            counted(
                "conversations written as lines `role: content`, since the tokenizer has no chat template",
                self.plain_conversations,
            ),
            listed(read_by, &self.read_by),
            counted(
                "prompts that a line break separates from the response, since neither has white space there (end a prompt with \
                 one when you ask the model; `generate --raw`, where it has a chat template; `pairs = \"chat\"` makes messages of them \
                 instead)",
                self.parted_pairs,
            ),
        ];
        let mixed = self.mixed.iter().cloned();
        lines
            .into_iter()
            .flatten()
            .chain(mixed)
            .chain(self.file_lines())
            .collect()
    }

    /// Returns one line per kind of files that were skipped or read in an unusual way.
    fn file_lines(&self) -> Vec<String> {
        let mut lines: Vec<String> = [
            listed("files read as text", &self.text_files),
            listed(
                "files left out, since their kind is not supported",
                &self.other_files,
            ),
            listed(
                "files left out, since their records have no known fields (name them with `fields`)",
                &self.recordless_files,
            ),
            listed("files that `extensions` leaves out", &self.unlisted_files),
            listed(
                "files of a tokenizer left out (name them in `paths` to read them as text)",
                &self.tokenizer_files,
            ),
            listed("hidden files and folders left out", &self.hidden),
        ]
        .into_iter()
        .flatten()
        .collect();
        lines.extend(listed(
            "files left out, since they are not valid (the first follow)",
            &self.broken_files,
        ));
        lines.extend(self.broken.iter().map(|error| format!("left out: {error}")));
        for (ending, count) in &self.other_files {
            if let Some(way) = conversion_of(ending) {
                lines.push(format!("{count} `{ending}` can be converted: {way}"));
            }
        }
        lines
    }
}

/// Returns a line with the counts by name; `None` if there are none.
fn listed(what: &str, counts: &BTreeMap<String, u64>) -> Option<String> {
    let named = counts
        .iter()
        .map(|(name, count)| format!("`{name}` {count}"));
    let named = named.collect::<Vec<_>>().join(", ");
    (!counts.is_empty()).then(|| format!("{what}: {named}"))
}

/// Increases the count of `name` in `counts` by one, or that of all other names together if `counts` is full.
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
mod tests;
