//! Retention methods of a fine-tuning, one in each file. They can be combined.
//!
//! [`RetentionConfig`] selects the methods. `check` refuses contradictory settings before anything is written, and
//! `start` makes the batch source, the penalties and the distillation of a run.

mod batches;
mod collapse;
mod config;
mod cost;
mod distill;
mod ewc;
mod fisher;
mod l2sp;
pub(crate) mod limits;
mod memory;
mod objective;
mod quadratic;
mod replay;
mod self_replay;
mod self_text;
mod start;
mod teacher;

pub use collapse::Diversity;
pub use config::RetentionConfig;
pub use distill::{Base, DistillCache, DistillConfig, Distillation, Pool};
pub use ewc::{Ewc, EwcConfig, combine};
pub use fisher::{Sample, Squares, cached};
pub use l2sp::L2sp;
pub use limits::{
    Allowance, ControlledReplay, DomainVerdict, Judged, LimitController, LimitedDomain,
    LimitsConfig, LimitsVerdict, ReplayedDomain,
};
pub use objective::RetentionObjective;
pub use replay::{ReplayConfig, ReplaySource};
pub(crate) use self_replay::DOMAIN;
pub use self_replay::DOMAIN as GENERATED_DOMAIN;
pub use self_replay::{HeldOutPart, SelfReplay};

pub(crate) use config::{RetainedText, RetentionFacts, retained_domains};
pub(crate) use memory::Sizes;
pub(crate) use replay::EARLIER_TOKENS;
pub(crate) use start::StartContext;
pub use teacher::TeacherPool;

use crate::FinetuneError;

/// Checks that a strength is positive. (A method is disabled by leaving out its key, not by a strength of 0.)
fn positive(key: &str, value: f64) -> Result<(), FinetuneError> {
    if value.is_finite() && value > 0.0 {
        return Ok(());
    }
    Err(FinetuneError::Config(format!(
        "`{key}` = `{value}`: expected a number above 0; leave it out to turn it off"
    )))
}
