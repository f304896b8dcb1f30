//! Bits per byte per domain, paired statistics, the forgetting report.
//!
//! [`score_shard`] scores every held-out document of a domain once; [`ForgettingReport::new`] compares what a base and
//! the models tuned from it score on the same documents; [`evidence`] finds what was forgotten; [`score_task`]
//! answers tasks with choices; [`write()`] puts the report on the disk.
//!
//! ```no_run
//! use candle_core::Device;
//! use polymath_data::{Dataset, Split};
//! use polymath_eval::*;
//! use polymath_model::{LoadOptions, Ops, Precision};
//!
//! let dataset = Dataset::open("data/science".as_ref())?;
//! let options = LoadOptions::frozen(&Device::Cpu, Ops::fused(Precision::F32));
//! let score = |folder: &str| -> Result<ModelScores, Box<dyn std::error::Error>> {
//!     let model = polymath_model::load(folder.as_ref(), &options)?;
//!     let mut scores = ModelScores { path: folder.into(), ..ModelScores::default() };
//!     for name in dataset.domain_names() {
//!         let shard = dataset.shard(name, Split::Heldout)?;
//!         let found = score_shard(&model, &shard, WindowOptions::default(), &mut |_, _| ())?;
//!         println!("{folder}: {name} {:.3} bits per byte", found.bits_per_byte());
//!         scores.domains.insert(name.into(), found);
//!     }
//!     Ok(scores)
//! };
//! let base = score("checkpoints/small/best")?;
//! let mut tuned = score("checkpoints/small-formal/best")?;
//! tuned.niche = "formal".into();
//! let report = ForgettingReport::new(&base, &[tuned], Settings::default())?;
//! print!("{}", report.table());
//! write(&report, "report".as_ref())?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod charts;
mod diverged;
mod divergence;
mod error;
pub mod evidence;
pub mod frontier;
mod page;
mod questions;
pub mod report;
pub mod revert;
mod rows;
mod scoring;
pub mod statistics;
mod tasks;
pub mod transfer;
pub mod untrusted;
mod wording;

pub use diverged::Diverged;
pub use divergence::divergence;
pub use error::EvalError;
pub use page::check_forms;
pub use questions::answer_questions;
pub use report::{ForgettingReport, ModelScores, Settings, write};
pub use scoring::{
    Answer, DocumentScore, DomainScores, HeldoutEvaluator, TokenScores, WindowOptions, score_shard,
    score_tokens, scored_groups,
};
pub use tasks::{EncodedTask, ItemScore, TaskEncoder, TaskScores, score_task};
