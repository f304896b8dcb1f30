//! Sources, tokenizer training, token shards, mixture, batches.
//!
//! [`prepare`] turns raw text into a [`Dataset`]; [`MixtureStream`] makes training batches of it, and
//! [`ScoringBatches`] the batches that score every held-out token once. This crate knows no model.

mod chat;
mod collect;
mod dataset;
mod draw;
mod duplicates;
mod encode;
mod error;
mod half;
mod ledger;
mod manifest;
mod mixture;
mod normalise;
mod overlap;
mod parquet_columns;
mod parquet_file;
mod prepare;
mod prepare_config;
mod progress;
mod question;
mod record;
mod replay;
pub mod school;
mod scoring;
mod shard;
mod shard_writer;
mod source;
mod sources;
mod spelling;
mod splitter;
mod spool;
mod stream;
mod task;
mod texts;
mod tokenizer;
mod turns;
mod words;

pub use dataset::{Dataset, Split};
pub use error::DataError;
pub use half::Half;
pub use ledger::measure_overlaps;
pub use manifest::{DomainManifest, Manifest, Overlap, SCHEMA, SplitManifest, TokenizerManifest};
pub use mixture::{DomainSize, MixtureConfig, MixtureShare};
pub use prepare::prepare;
pub use prepare_config::{DomainConfig, PrepareConfig, TokenizerConfig};
pub use progress::{NoProgress, Progress};
pub use question::{Question, read_questions};
pub use replay::{Replay, ReplayStream};
pub use scoring::{ScoringBatch, ScoringBatches, ScoringOptions};
pub use shard::{Document, TokenShard};
pub use shard_writer::ShardWriter;
pub use spelling::Spelling;
pub use stream::{Batch, BatchShape, MixturePart, MixtureStream};
pub use task::{Task, TaskItem, read_tasks};
pub use texts::{Texts, prepare_texts};

/// A target that is neither learnt nor scored.
pub const IGNORED: u32 = u32::MAX;
