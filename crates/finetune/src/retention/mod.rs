//! What is retained while a niche is learnt: each method a file of its own, any of them together.
//!
//! [`RetentionConfig`] says which; `check` refuses what contradicts itself or the data before anything is made, and
//! `start` makes what the run needs: the stream of batches, the penalties and what is distilled.

mod config;
mod distill;
mod ewc;
mod fisher;
mod itself;
mod l2sp;
pub(crate) mod limits;
mod memory;
mod objective;
mod quadratic;
mod replay;
mod start;
mod teacher;

pub use config::RetentionConfig;
pub use distill::{Base, DistillCache, DistillConfig, Distillation, Pool};
pub use ewc::{Ewc, EwcConfig, combine};
pub use fisher::{Sample, Squares, cached};
pub use itself::Itself;
pub use l2sp::L2sp;
pub use limits::{
    Allowance, DomainVerdict, Judged, LimitedDomain, LimitsConfig, LimitsVerdict, Pressed,
    Pressure, is_outside,
};
pub use objective::Retaining;
pub use replay::{ReplayConfig, ReplaySource};

pub(crate) use config::{Old, old_domains};
pub(crate) use memory::Sizes;
pub(crate) use start::Making;
pub use teacher::Lesson;

use crate::FinetuneError;

/// A strength must be a number above 0: leaving the key out is how a method is turned off.
fn positive(key: &str, value: f64) -> Result<(), FinetuneError> {
    if value.is_finite() && value > 0.0 {
        return Ok(());
    }
    Err(FinetuneError::Config(format!(
        "`{key}` = `{value}`: expected a number above 0; leave it out to turn it off"
    )))
}
