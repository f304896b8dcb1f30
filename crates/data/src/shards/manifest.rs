//! The manifest `dataset.json`: contents of a dataset, and statistics of its preparation.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{GroupKind, RecordNotes};

/// Version of the manifest format that this program reads and writes.
pub const SCHEMA: u32 = 1;

/// Content of `dataset.json`. It is written last: a folder without it is not a dataset.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of the manifest format, [`SCHEMA`].
    pub schema: u32,
    /// Hash of the sources' content and of every setting that affects the dataset. If it has not changed, `prepare`
    /// has nothing to do.
    pub source: String,
    /// True if all kinds of text files were read. Earlier versions read only `.txt`, `.md`, `.jsonl` and `.parquet`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reads_all_text: bool,
    /// Seed of the split.
    pub seed: u64,
    /// Configured share of held-out documents, for domains without `heldout_paths`.
    pub heldout_fraction: f64,
    /// Tokenizer that the shards were made with.
    pub tokenizer: TokenizerManifest,
    /// Places where the IDs of the begin and end tokens were found.
    #[serde(default)]
    pub end_sources: EndSources,
    /// True if a model generated the text.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub generated: bool,
    /// Domains by name.
    pub domains: BTreeMap<String, DomainManifest>,
    /// Overlap of every pair of a training domain and a held-out domain.
    pub overlaps: Vec<Overlap>,
}

/// The tokenizer next to the manifest, `tokenizer.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenizerManifest {
    /// Size of the vocabulary: the highest token ID plus one.
    pub vocab_size: usize,
    /// SHA-256 of `tokenizer.json`.
    pub sha256: String,
    /// ID of the token that is the input before each document.
    pub bos_token_id: u32,
    /// ID of the token that is stored, and predicted, at the end of each document.
    pub eos_token_id: u32,
}

/// Place where each of the tokens that begin and end documents was found: a file, a configuration key or the special
/// tokens; empty if unknown.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EndSources {
    /// Place where `bos_token_id` was found.
    pub begin: String,
    /// Place where `eos_token_id` was found.
    pub end: String,
}

/// A domain, with statistics of its preparation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DomainManifest {
    /// Sizes and statistics of the training split.
    pub train: SplitManifest,
    /// Sizes and statistics of the held-out split.
    pub heldout: SplitManifest,
    /// Number of source files that were read.
    pub files: u64,
    /// Number of documents that were read, before any was dropped. Each piece of a long document counts.
    #[serde(default)]
    pub read: u64,
    /// Number of documents dropped as copies of a kept one, in this domain or another.
    pub duplicates_dropped: u64,
    /// Number of documents dropped as copies of a kept one in another domain.
    #[serde(default)]
    pub duplicates_across_domains: u64,
    /// Number of documents and files dropped because they have nothing to learn: only white space, or no response.
    #[serde(default)]
    pub empty_dropped: u64,
    /// Number of records skipped because they can't be read (`on_bad_record = "skip"`).
    #[serde(default, skip_serializing_if = "is_zero")]
    pub bad_records_dropped: u64,
    /// Number of documents cut into pieces because they are very long.
    #[serde(default)]
    pub cut_documents: u64,
    /// Number of documents held out by the quota, because the hash alone gave too small a held-out split.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub heldout_by_quota: u64,
    /// Kind of the groups of both splits.
    #[serde(default)]
    pub group: GroupKind,
    /// Field whose values are the groups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_field: Option<String>,
    /// Number of documents moved to the training split because they, or others of their group, have near-duplicates
    /// there.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub near_duplicates_to_train: u64,
    /// Number of held-out groups that were joined to another group because they hold near-duplicates of each other.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub near_duplicates_joined: u64,
    /// Number of held-out documents left out because they have near-duplicates, while most others of their group have
    /// none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub near_duplicates_left_out: u64,
    /// Number of held-out groups with near-duplicates in the training split; number of documents instead if the config
    /// names the held-out files.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub near_duplicates_left: u64,
    /// Number of held-out documents cut into pieces because they are few and long.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub heldout_cut: u64,
    /// True if the domain's only document was cut and its end held out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tail_held_out: bool,
    /// Number of questions in `questions.jsonl`.
    #[serde(default)]
    pub questions: u64,
    /// Keys and roles of records that were ignored or renamed.
    #[serde(default, skip_serializing_if = "RecordNotes::is_empty")]
    pub notes: RecordNotes,
}

/// Sizes of a shard, and statistics of tokenizing it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SplitManifest {
    /// Number of documents. Each piece of a long document counts.
    pub documents: u64,
    /// Number of document groups; 0 if none are stored.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub groups: u64,
    /// Number of tokens, including one end token per document.
    pub tokens: u64,
    /// UTF-8 bytes of the scored text.
    pub bytes: u64,
    /// SHA-256 of the shard's file.
    pub sha256: String,
    /// Number of assistant turns cut off because the conversation exceeds `longest_conversation`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub turns_dropped: u64,
    /// Number of conversations dropped because not even their first turn fits.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub conversations_dropped: u64,
    /// IDs of the tokens that end the assistant's turns.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub turn_end_token_ids: Vec<u32>,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Overlap of a domain's held-out text with a domain's training text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Overlap {
    /// Domain whose training split was searched.
    pub train: String,
    /// Domain whose held-out text was searched for.
    pub heldout: String,
    /// Share of the held-out documents that are in the training split, ignoring letter case and white space.
    pub exact_share: f64,
    /// Share of the distinct 13-word sequences of the held-out text that are in the training split, ignoring letter
    /// case and white space.
    pub ngram_share: f64,
    /// Number of distinct 13-word sequences that were searched for. A share of few sequences is uncertain; of 0 it
    /// has no meaning.
    #[serde(default)]
    pub ngrams: u64,
}
