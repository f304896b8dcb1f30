//! Evaluation: bits per byte by domain, tasks, questions, and paired statistics, for training loops and reports.
//!
//! [`score_shard`] scores every held-out document of a domain once. [`HeldoutEvaluator`] scores a sample repeatedly
//! during training. [`score_task`] scores multiple-choice tasks. [`statistics`] has intervals and significance tests.
//!
//! ```no_run
//! use candle_core::Device;
//! use polymath_data::{Dataset, Split};
//! use polymath_eval::*;
//! use polymath_model::{LoadOptions, Ops, Precision};
//!
//! let dataset = Dataset::open("data/science".as_ref())?;
//! let options = LoadOptions::frozen(&Device::Cpu, Ops::fused(Precision::F32));
//! let model = polymath_model::load("checkpoints/small/best".as_ref(), &options)?;
//! for name in dataset.domain_names() {
//!     let shard = dataset.shard(name, Split::Heldout)?;
//!     let scores = score_shard(&model, &shard, WindowOptions::default(), &mut |_, _| ())?;
//!     println!("{name} {:.3} bits per byte", scores.bits_per_byte());
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod divergence;
mod error;
mod interpolation;
mod questions;
mod rows;
mod scoring;
pub mod statistics;
mod tasks;

pub use divergence::{ModelPair, divergence};
pub use error::EvalError;
pub use interpolation::{Endpoints, Interpolation, Shares};
pub use questions::{answer_questions, check_questions, generate_answers};
pub use scoring::{
    DocumentScore, DomainScores, HeldoutEvaluator, ProgressResult, ScoredGroups, ScoresByDomain,
    SplitScores, TokenScores, WindowOptions, sample_windows, score_shard, score_tokens,
    scored_groups, scored_tokens,
};
pub use tasks::{EncodedTask, ItemScore, TaskEncoder, TaskScores, score_task};
