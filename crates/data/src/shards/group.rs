//! Groups of documents: the units of splitting, resampling and counting.
//!
//! Documents of one work (the scenes of a play, the chapters of a manual) are similar. Statistics that count them as
//! independent give intervals that are too narrow. So every stored document has a group. The splits (train and
//! held-out, `dev` and `test`) and the bootstrap never divide a group.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Seed of the group hashes. It is fixed, so that groups do not change with the seed of the split.
const GROUP_SEED: u64 = 0x6772_6f75_7073; // "groups"

/// Kind of unit that forms a group of documents.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GroupKind {
    /// A document. Used for domains with both files and records, and for datasets that store no groups.
    #[default]
    Document,
    /// A file, with all documents and pieces that were read from it.
    File,
    /// A record of a file: a line of JSON, a row of a table, a text between separators.
    Record,
    /// A value of a field of the records (`group_field`), such as the work that a document was cut from.
    Field,
    /// A passage of a work. The scores then hold for new passages of the same work, not for new works.
    Section,
    /// A document that a model generated.
    Generated,
}

impl GroupKind {
    /// Returns the name of the group kind in configuration files and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Document => "document",
            Self::File => "file",
            Self::Record => "record",
            Self::Field => "field",
            Self::Section => "section",
            Self::Generated => "generated document",
        }
    }
}

/// Kind of groups that the config requests (`domains.NAME.group`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GroupBy {
    /// Files, even if they hold many records.
    File,
    /// Records: lines, rows, or texts between separators.
    Record,
    /// Passages of a work.
    Section,
}

/// Rule by which a domain's documents are grouped: the kind of unit, and the field that names the groups.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grouping {
    /// Kind of the groups.
    pub kind: GroupKind,
    /// The field whose values are the groups; `None` unless the kind is [`GroupKind::Field`].
    pub field: Option<String>,
}

impl Grouping {
    /// Creates a grouping by units of this kind, without a field.
    pub fn of(kind: GroupKind) -> Self {
        Self { kind, field: None }
    }

    /// Returns the plural for messages: `files`, or `` values of `work` `` for a field.
    pub fn plural(&self) -> String {
        match (&self.field, self.kind) {
            (Some(field), _) => format!("values of `{field}`"),
            (None, GroupKind::Section) => "passages of the same work".to_owned(),
            (None, kind) => format!("{}s", kind.name()),
        }
    }
}

/// Group and source of a stored document.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DocumentOrigin {
    /// Hash that identifies the document's group.
    pub group: u64,
    /// Index of the file in the domain's list of files.
    pub file: u32,
    /// Line, row or text of the file, counted from 1; 0 if the file is one document.
    pub record: u64,
}

/// Tag of a document: its split hash, group and source.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tag {
    /// Split hash: decides, with the seed of the split, between training and held-out. It is the same for all documents
    /// of a group.
    pub(crate) side: u64,
    /// Group and source of the document, as stored in the shard.
    pub(crate) origin: DocumentOrigin,
}

impl Tag {
    /// Returns the tag of a document in the group that `key` names, without a source.
    pub(crate) fn of(key: &str, seed: u64) -> Self {
        Self {
            side: xxh3_64_with_seed(key.as_bytes(), seed),
            origin: DocumentOrigin {
                group: group_hash(key),
                ..DocumentOrigin::default()
            },
        }
    }

    /// Returns a copy of this tag with the source `file` and `record`.
    pub(crate) fn at(self, file: u32, record: u64) -> Self {
        let origin = DocumentOrigin {
            file,
            record,
            ..self.origin
        };
        Self { origin, ..self }
    }
}

/// Returns the group of a key. The key is the value of a field, or a text in normalized letter case and white space.
fn group_hash(key: &str) -> u64 {
    xxh3_64_with_seed(key.as_bytes(), GROUP_SEED)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that the stored group depends on the key alone, while the split hash depends on the seed too. So the
    /// held-out documents of datasets with different seeds can be compared.
    #[test]
    fn groups_do_not_change_with_the_seed_of_the_split() {
        let [first, second] = [1, 2].map(|seed| Tag::of("Middlemarch", seed));
        assert_eq!(first.origin.group, second.origin.group);
        assert_ne!(first.side, second.side);
        assert_ne!(first.origin.group, Tag::of("Middlemarcg", 1).origin.group);
        assert_ne!(first.origin.group, first.side);
    }
}
