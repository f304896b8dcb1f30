//! The one training loop: optimizer groups, schedule, run folder, resume, metrics.
//!
//! [`fit`] trains whatever an [`Objective`] computes on the batches of a [`BatchSource`]. Which phase it serves, what
//! the parameters belong to and what the tokens mean are not its business.

mod backward;
mod checkpoint;
mod config;
mod error;
mod fit;
mod gradient_check;
mod language_model;
mod launch;
mod metrics;
mod objective;
mod optimizer;
mod run_folder;
mod schedule;

pub use checkpoint::{Checkpoint, State, resolve_checkpoint, verify};
pub use config::{CheckpointConfig, EvaluationConfig, Schedule, TrainingConfig};
pub use error::TrainError;
pub use fit::{Evaluator, Fit, Outcome, fit};
pub use language_model::{LanguageModel, to_token_batch};
pub use launch::{Launch, Plan};
pub use metrics::{EvaluationMetrics, StepMetrics};
pub use objective::{BatchSource, Objective, Observer, SaveModel, Silent};
pub use optimizer::Optimizer;
pub use run_folder::RunFolder;
