//! Sources, tokenizer training, token shards, mixture, batches.
//!
//! [`prepare`] turns raw text into a [`Dataset`]; [`MixtureStream`] makes training batches of it, and
//! [`ScoringBatches`] the batches that score every held-out token once. This crate knows no model.
//!
//! ```
//! use polymath_data::*;
//!
//! # let folder = tempfile::tempdir()?;
//! # let at = |name: &str| folder.path().join(name);
//! // A generated school stands for text of one's own.
//! let size = school::SchoolConfig { seed: 1, bytes_per_domain: 20_000 };
//! school::write(&size, &at("raw"))?;
//! let config = PrepareConfig {
//!     heldout_fraction: 0.2,
//!     ..school::prepare_config(&at("raw"), &at("data"))
//! };
//! let dataset = prepare(&config, false, &NoProgress)?;
//!
//! let part = MixturePart {
//!     name: "physics".into(),
//!     shard: dataset.shard("physics", Split::Train)?,
//!     weight: 1.0,
//! };
//! let shape = BatchShape { rows: 4, sequence_length: 32 };
//! let bos = dataset.manifest().tokenizer.bos_token_id;
//! let stream = MixtureStream::new(vec![part], shape, bos, 1)?;
//! // A step's batch is a function of the seed and the step: resuming needs no more than its number.
//! assert_eq!(stream.batch(7).input_ids, stream.batch(7).input_ids);
//! assert_eq!(stream.batch(7).targets.len(), 4 * 32);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod batch;
mod chat;
mod collect;
mod cuts;
mod dataset;
mod document_source;
mod draw;
mod duplicates;
mod encode;
mod error;
mod group;
mod heldout_split;
mod json_lines;
mod ledger;
mod links;
mod manifest;
mod mixture;
mod near_duplicates;
mod normalise;
mod notes;
mod overlap;
mod packed;
mod packing;
mod parquet_columns;
mod parquet_file;
mod parquet_pages;
mod pieces;
mod prepare;
mod prepare_config;
mod progress;
mod question;
mod reading;
mod record;
mod replay;
pub mod school;
mod scoring;
mod shard;
mod shard_writer;
mod sides;
mod sketch;
mod source;
mod sources;
mod special_tokens;
mod spelling;
mod splitter;
mod spool;
mod stream;
mod survey;
mod tail;
mod target_folder;
mod task;
mod text_file;
mod texts;
mod tokenizer;
mod turns;
mod vocabulary;
mod words;
mod wrapped;

pub use batch::{Batch, BatchShape};
pub use chat::chat_template;
pub use dataset::{Dataset, Split};
pub use document_source::{DocumentSource, DocumentSources};
pub use error::DataError;
pub use group::{DocumentOrigin, GroupBy, GroupKind, Grouping};
pub use heldout_split::HeldoutSplit;
pub use ledger::measure_overlaps;
pub use manifest::{
    DomainManifest, EndSources, Manifest, Overlap, SCHEMA, SplitManifest, TokenizerManifest,
};
pub use mixture::{DomainSize, MixtureConfig, MixtureShare};
pub use notes::RecordNotes;
pub use packing::{Packing, fitting_length};
pub use prepare::prepare;
pub use prepare_config::{DomainConfig, OnBadRecord, PrepareConfig, TokenizerConfig};
pub use progress::{NoProgress, Progress};
pub use question::{Question, question_groups, read_questions};
pub use reading::Reading;
pub use replay::{Replay, ReplayStream};
pub use scoring::{ScoringBatch, ScoringBatches, ScoringOptions};
pub use shard::{Document, TokenShard};
pub use shard_writer::ShardWriter;
pub use spelling::Spelling;
pub use stream::{MixturePart, MixtureStream};
pub use target_folder::TargetFolder;
pub use task::{Task, TaskItem, read_tasks};
pub use texts::{Texts, prepare_texts, prepare_texts_as};
pub use vocabulary::{ExtendedTokenizer, NewTokens};

/// Version of the rule by which training batches are made of a dataset: equal seeds, steps and datasets give equal
/// batches under equal rules only. 1: rows in the order of the text; 2: the rows of an epoch in a seeded permutation;
/// 3: examples with prompts in rows of their own, by best fit.
pub const BATCH_RULE: u32 = 3;

/// Version of the rule by which held-out documents are chosen that a run is evaluated on while it trains. Scores under
/// different rules are of different documents, so they decide no best checkpoint together. 1: of dev and test alike (under
/// limits of dev), passing over documents that are too long for what is left; 2: of dev alone, up to the first document that
/// does not fit.
pub const EVALUATION_RULE: u32 = 2;

/// A target that is neither learnt nor scored.
pub const IGNORED: u32 = u32::MAX;
