//! Studies of finished checkpoints, one function each: the forgetting report ([`forget`]), the models between a base
//! and a tuned model ([`interpolate()`]), the layers worth resetting ([`reset()`]), a comparison of several methods
//! ([`frontier`]), the transfer between domains ([`transfer`]), the model card ([`card`]), and the list of runs
//! ([`runs`]). [`audit::audit`] compares any two models on text that needs no dataset of the user's.
//!
//! [`tune`] goes from a base and text to a model to talk with. [`init`] writes first configs of a folder of texts, from
//! the commented [`schema`] of each kind of config.

pub mod audit;
mod cache;
pub mod card;
mod error;
mod forget;
pub mod frontier;
pub mod init;
pub mod interpolate;
mod model_files;
mod output;
mod pace;
mod reset;
pub mod roofline;
pub mod runs;
pub mod schema;
mod scores;
pub mod scoring;
mod setup;
mod shell;
pub mod sweep;
pub mod transfer;
pub mod tune;

pub use error::StudyError;
pub use forget::{ForgetOptions, GeneratedText, JudgedSplit, forget};
pub use interpolate::{BetweenOptions, InterpolateOptions, interpolate};
pub use model_files::{merge, write_gguf};
pub use output::OutputFolder;
pub use pace::{Pace, StepPhases};
pub use reset::reset;
pub use setup::{Scored, Setup, SilentStudy, StudyProgress};
pub use shell::shell_word;
pub use sweep::{RunStatus, Runner, SweepEnd, SweepStatus, check_bases};
