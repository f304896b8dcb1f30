//! Bits per byte per domain, paired statistics, the forgetting report.
//!
//! [`score_shard`] scores every held-out document of a domain once; [`ForgettingReport::new`] compares what a base and
//! the models tuned from it score on the same documents; [`evidence`] finds what was forgotten; [`score_task`]
//! answers tasks with choices; [`write()`] puts the report on the disk.

mod charts;
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
mod wording;

pub use divergence::divergence;
pub use error::EvalError;
pub use questions::answer_questions;
pub use report::{ForgettingReport, ModelScores, Settings, write};
pub use scoring::{
    DocumentScore, DomainScores, HeldoutEvaluator, TokenScores, WindowOptions, score_shard,
    score_tokens,
};
pub use tasks::{EncodedTask, ItemScore, TaskEncoder, TaskScores, score_task};
