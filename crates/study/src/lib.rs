//! Studies of finished checkpoints, one function each: the forgetting report ([`forget`]), the models between a base
//! and a tuned model ([`interpolate()`]), the layers worth resetting ([`reset()`]), a comparison of several methods
//! ([`frontier`]), the transfer between domains ([`transfer`]), the model card ([`card`]), and the list of runs
//! ([`runs`]).

mod cache;
pub mod card;
mod error;
mod forget;
pub mod frontier;
pub mod interpolate;
mod output;
mod reset;
pub mod runs;
mod scores;
pub mod scoring;
mod setup;
pub mod sweep;
pub mod transfer;

pub use error::StudyError;
pub use forget::{ForgetOptions, GeneratedText, JudgedSplit, forget};
pub use interpolate::{BetweenOptions, InterpolateOptions, interpolate};
pub use output::OutputFolder;
pub use reset::reset;
pub use setup::{Progress, Scored, Setup, Silent};
pub use sweep::{RunStatus, Runner, SweepEnd, SweepStatus, check_bases};
