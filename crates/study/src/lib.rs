//! Studies of finished checkpoints, one call each: what a fine-tuning forgot ([`forget`]), the models between it and its
//! base ([`interpolate()`]), which layers to reset ([`revert()`]), several methods compared ([`frontier`]), transfer between
//! domains ([`transfer`]), and the model card ([`card`]).

pub mod card;
mod error;
mod forget;
pub mod frontier;
pub mod interpolate;
mod kept;
mod output;
mod revert;
mod scores;
pub mod scoring;
mod setup;
pub mod sweep;
pub mod transfer;

pub use error::StudyError;
pub use forget::{ForgetOptions, JudgedSplit, forget};
pub use interpolate::{BetweenOptions, InterpolateOptions, interpolate};
pub use output::OutputFolder;
pub use revert::revert;
pub use setup::{Progress, Scored, Setup, Silent};
pub use sweep::{RunStatus, Runner, SweepEnd, check_bases};
