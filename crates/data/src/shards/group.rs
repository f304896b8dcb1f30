//! Groups of documents: what is split, resampled and counted as one.
//!
//! Documents of one work (the scenes of a play, the chapters of a manual) are alike. Statistics that count each of them
//! as independent state intervals that are too narrow. So every stored document names its group, and train and
//! held-out, `dev` and `test`, and every bootstrap take groups whole.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Seed of the hashes of groups: they do not change with the seed of the split.
const GROUP_SEED: u64 = 0x6772_6f75_7073; // "groups"

/// The kind of thing that is a group.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GroupKind {
    /// A document: where files and records stand in one domain, and in a dataset that stores no groups.
    #[default]
    Document,
    /// A file: all documents and pieces that were read from it.
    File,
    /// A record of a file: a line of JSON, a row of a table, a text between separators.
    Record,
    /// A value of a field of the records (`group_field`), such as the work that a document was cut from.
    Field,
    /// A passage: what is measured then holds for new passages of the same work.
    Section,
}

impl GroupKind {
    /// Returns its name, as config files and reports have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Document => "document",
            Self::File => "file",
            Self::Record => "record",
            Self::Field => "field",
            Self::Section => "section",
        }
    }
}

/// Kind of a domain's groups that the config asks for (`domains.NAME.group`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GroupBy {
    /// Files, also those that hold many records.
    File,
    /// Records.
    Record,
    /// Passages.
    Section,
}

/// The groups of a domain: their kind, and the field that names them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grouping {
    /// The kind of a group.
    pub kind: GroupKind,
    /// The field whose values are the groups; `None` unless the kind is [`GroupKind::Field`].
    pub field: Option<String>,
}

impl Grouping {
    /// Groups of this kind, without a field.
    pub fn of(kind: GroupKind) -> Self {
        Self { kind, field: None }
    }

    /// Names the groups in the plural, for a person: `files`, `` values of `work` ``.
    pub fn plural(&self) -> String {
        match (&self.field, self.kind) {
            (Some(field), _) => format!("values of `{field}`"),
            (None, GroupKind::Section) => "passages of the same work".to_owned(),
            (None, kind) => format!("{}s", kind.name()),
        }
    }
}

/// The group and the source of a stored document.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DocumentOrigin {
    /// The group.
    pub group: u64,
    /// The file, as an index into the domain's list of files.
    pub file: u32,
    /// The line, row or text of the file, counted from 1; 0 where the file is one document.
    pub record: u64,
}

/// A document's key in the split, and its group and source.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tag {
    /// The seeded hash that decides the side. All documents of a group have the same.
    pub(crate) side: u64,
    /// Stored group and source.
    pub(crate) origin: DocumentOrigin,
}

impl Tag {
    /// Returns the tag of a document of the group that `key` names, of an unknown source.
    pub(crate) fn of(key: &str, seed: u64) -> Self {
        Self {
            side: xxh3_64_with_seed(key.as_bytes(), seed),
            origin: DocumentOrigin {
                group: group_hash(key),
                ..DocumentOrigin::default()
            },
        }
    }

    /// Returns the tag for a document that was read from this file and record.
    pub(crate) fn at(self, file: u32, record: u64) -> Self {
        let origin = DocumentOrigin {
            file,
            record,
            ..self.origin
        };
        Self { origin, ..self }
    }
}

/// Returns the group of a key: the value of a field, or a text with letter case and white space aside.
fn group_hash(key: &str) -> u64 {
    xxh3_64_with_seed(key.as_bytes(), GROUP_SEED)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The stored group is a function of the key alone: datasets that were split by different seeds name the same
    /// groups, so that their held-out documents can be compared. The side follows the seed.
    #[test]
    fn groups_do_not_change_with_the_seed_of_the_split() {
        let [first, second] = [1, 2].map(|seed| Tag::of("Middlemarch", seed));
        assert_eq!(first.origin.group, second.origin.group);
        assert_ne!(first.side, second.side);
        assert_ne!(first.origin.group, Tag::of("Middlemarcg", 1).origin.group);
        assert_ne!(first.origin.group, first.side);
    }
}
