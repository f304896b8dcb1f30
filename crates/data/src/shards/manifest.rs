//! `dataset.json`: what a dataset holds, and what was found while preparing it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{GroupKind, RecordNotes};

/// The format this program reads and writes.
pub const SCHEMA: u32 = 1;

/// All of `dataset.json`. It is written last: a folder without it is not a dataset.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`SCHEMA`].
    pub schema: u32,
    /// A hash of the sources' content and of every setting that shapes the dataset: the same again means that there
    /// is nothing to do.
    pub source: String,
    /// True if every kind of text was read; earlier versions read `.txt`, `.md`, `.jsonl` and `.parquet` alone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reads_all_text: bool,
    /// Seed of the split.
    pub seed: u64,
    /// The share of documents meant for the held-out split, where a domain does not name its own held-out files.
    pub heldout_fraction: f64,
    /// The tokenizer.
    pub tokenizer: TokenizerManifest,
    /// Source of the tokens that begin and end documents.
    #[serde(default)]
    pub end_sources: EndSources,
    /// Every domain by name.
    pub domains: BTreeMap<String, DomainManifest>,
    /// Every (train domain, held-out domain) pair.
    pub overlaps: Vec<Overlap>,
}

/// The tokenizer beside the manifest, `tokenizer.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenizerManifest {
    /// Size of the vocabulary: one more than the greatest token id.
    pub vocab_size: usize,
    /// SHA-256 of `tokenizer.json`.
    pub sha256: String,
    /// Fed before each document.
    pub bos_token_id: u32,
    /// Stored, and predicted, at the end of each document.
    pub eos_token_id: u32,
}

/// Sources of the tokens that begin and end documents: a file, a key, the special tokens; empty where they are not
/// known.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EndSources {
    /// Source of `bos_token_id`.
    pub begin: String,
    /// Source of `eos_token_id`.
    pub end: String,
}

/// Domain, with counts of what became of its sources.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DomainManifest {
    /// Training split.
    pub train: SplitManifest,
    /// Held-out split.
    pub heldout: SplitManifest,
    /// Source files read.
    pub files: u64,
    /// Documents read from them, before any was dropped (each piece of a huge one counts).
    #[serde(default)]
    pub read: u64,
    /// Documents dropped because an equal one was kept, in this domain or another.
    pub duplicates_dropped: u64,
    /// Dropped duplicates whose kept equal is in another domain.
    #[serde(default)]
    pub duplicates_across_domains: u64,
    /// Documents and files dropped because there was nothing in them to learn: white space alone, or no response.
    #[serde(default)]
    pub empty_dropped: u64,
    /// Records left out because they made no document (`on_bad_record = "skip"`).
    #[serde(default, skip_serializing_if = "is_zero")]
    pub bad_records_dropped: u64,
    /// Documents cut into pieces because they were huge.
    #[serde(default)]
    pub cut_documents: u64,
    /// Documents held out although their hash lies above the share, since the held-out split had too few.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub heldout_by_quota: u64,
    /// Kind of the groups of both splits.
    #[serde(default)]
    pub group: GroupKind,
    /// The field whose values are the groups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_field: Option<String>,
    /// Documents that became training text although the hash holds them out, since near-duplicates of them, or of
    /// others of their group, are training text.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub near_duplicates_to_train: u64,
    /// Held-out groups that became one with another, since they hold near-duplicates of each other.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub near_duplicates_joined: u64,
    /// Held-out documents left out, since there is a near-duplicate of them on either side, and none of most others of
    /// their group.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub near_duplicates_left_out: u64,
    /// Held-out groups that have near-duplicates in the training text; of files that the config names for the held-out
    /// split, such documents.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub near_duplicates_left: u64,
    /// Held-out documents cut into pieces, since they were few and long.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub heldout_cut: u64,
    /// True if the domain's only document was cut, and its tail held out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tail_held_out: bool,
    /// Questions in `questions.jsonl`.
    #[serde(default)]
    pub questions: u64,
    /// Keys and roles of records that were not used as they stand.
    #[serde(default, skip_serializing_if = "RecordNotes::is_empty")]
    pub notes: RecordNotes,
}

/// Size of a shard.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SplitManifest {
    /// Documents (each piece of a huge one counts).
    pub documents: u64,
    /// Groups of documents; 0 where none are stored.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub groups: u64,
    /// Tokens, with one end-of-text token for each document.
    pub tokens: u64,
    /// UTF-8 bytes of the scored text.
    pub bytes: u64,
    /// SHA-256 of the shard's file.
    pub sha256: String,
    /// The assistant's turns that were cut off, since the conversation was longer than the domain's
    /// `longest_conversation`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub turns_dropped: u64,
    /// Conversations of which not even the first turn fitted.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub conversations_dropped: u64,
    /// The tokens that end the assistant's turns.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub turn_end_token_ids: Vec<u32>,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Overlap of a domain's held-out text with a domain's training text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Overlap {
    /// The domain whose training split was searched.
    pub train: String,
    /// The domain whose held-out split was looked for.
    pub heldout: String,
    /// Share of the held-out documents found in train, letter case and white space aside.
    pub exact_share: f64,
    /// Share of the held-out documents' distinct 13-word sequences found in train, letter case and white space aside.
    pub ngram_share: f64,
    /// Number of distinct 13-word sequences looked for: a share of few says little, of 0 nothing.
    #[serde(default)]
    pub ngrams: u64,
}
