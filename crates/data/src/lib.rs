//! Sources, tokenizer training, token shards, mixture, batches.
//!
//! [`prepare`] turns raw text into a [`Dataset`]. [`MixtureStream`] makes training batches from a dataset, and
//! [`ScoringBatches`] makes batches that score every held-out token exactly once. This crate does not depend on the
//! model.
//!
//! ```
//! use polymath_data::*;
//!
//! # let folder = tempfile::tempdir()?;
//! # let at = |name: &str| folder.path().join(name);
//! // The built-in synthetic corpus stands in for your own text.
//! let size = synthetic::SyntheticConfig { seed: 1, bytes_per_domain: 20_000 };
//! synthetic::write(&size, &at("raw"))?;
//! let config = PrepareConfig {
//!     heldout_fraction: 0.2,
//!     ..synthetic::prepare_config(&at("raw"), &at("data"))
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
//! // A batch is a function of the seed and the step: resuming needs only the step number.
//! assert_eq!(stream.batch(7).input_ids, stream.batch(7).input_ids);
//! assert_eq!(stream.batch(7).targets.len(), 4 * 32);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod audit_set;
mod batches;
mod draw;
mod error;
mod preparation;
mod progress;
mod scoring;
mod shards;
mod sources;
pub mod synthetic;
mod tokenizer;

pub use batches::batch::BatchShape;
pub use batches::mixture::{DomainSize, MixtureConfig, MixtureShare};
pub use batches::packing::{Packing, fitting_length};
pub use batches::replay::{Replay, ReplayStream};
pub use batches::stream::{MixturePart, MixtureStream};
pub use error::DataError;
pub use polymath_base::{Batch, IGNORED};
pub use polymath_tokenizer::EndTokens;
pub use preparation::config::{
    DomainConfig, OnBadRecord, PairForm, PrepareConfig, TokenizerConfig, is_domain_name,
};
pub use preparation::ledger::measure_overlaps;
pub use preparation::prepare::prepare;
pub use preparation::retokenize::RetokenizedDataset;
pub use preparation::target_folder::TargetFolder;
pub use preparation::texts::{Texts, prepare_texts, prepare_texts_as};
pub use progress::{NoProgress, PreparationProgress};
pub use scoring::batches::{ScoringBatch, ScoringBatches, ScoringOptions, TokenPlace};
pub use scoring::question::{Question, question_groups, read_questions};
pub use scoring::task::{Task, TaskItem, read_tasks};
pub use shards::dataset::{Dataset, DatasetDomain};
pub use shards::document_source::{DocumentSource, DocumentSources};
pub use shards::group::{DocumentOrigin, GroupBy, GroupKind, Grouping};
pub use shards::heldout_split::HeldoutSplit;
pub use shards::manifest::{
    DomainManifest, EndSources, Manifest, Overlap, SCHEMA, SplitManifest, TokenizerManifest,
};
pub use shards::shard::{Document, NamedShard, TokenShard};
pub use shards::split::Split;
pub use shards::writer::ShardWriter;
pub use sources::chat::{ChatMessage, PLAIN_CHAT_TEMPLATE, PromptTemplate, chat_template};
pub use sources::layout::FieldNames;
pub use sources::notes::RecordNotes;
pub use sources::survey::{SourceSurvey, survey};
pub use synthetic as school;
pub use tokenizer::token_bytes::TokenBytes;
pub use tokenizer::vocabulary::{ExtendedTokenizer, NewTokens};

/// Version of the rule that makes training batches of a dataset. Equal seeds, steps and datasets give equal batches
/// only under the same version.
///
/// - 1: rows in the order of the text
/// - 2: rows of an epoch in a seeded permutation
/// - 3: examples with prompts in rows of their own, by best-fit packing
pub const BATCH_RULE: u32 = 3;

/// Version of the rule that selects the held-out documents for evaluation during training. Scores under different
/// versions are of different documents, so a best checkpoint is never chosen across versions.
///
/// - 1: from the dev and test splits (only dev under forgetting limits), skipping documents that do not fit into the
///   remaining token budget
/// - 2: from the dev split only, up to the first document that does not fit
pub const EVALUATION_RULE: u32 = 2;
