//! Training loop: parameter groups, schedule, run folder, resuming, metrics.
//!
//! [`fit`] trains any [`Objective`] on the batches of a [`BatchSource`]. It does not depend on the phase (pretraining
//! or fine-tuning), the model or the meaning of the tokens.
//!
//! ```no_run
//! use std::{collections::BTreeMap, ops::ControlFlow, path::Path, sync::atomic::AtomicBool};
//!
//! use polymath_ops::{Ops, Precision};
//! use polymath_train::*;
//!
//! struct Fixed;
//! impl Evaluator for Fixed {
//!     fn evaluate(
//!         &mut self,
//!         _progress: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
//!     ) -> Result<BTreeMap<String, f64>, TrainError> {
//!         Ok(BTreeMap::from([("literature".into(), 2.1)]))
//!     }
//!     fn score(&self, bits_per_byte: &BTreeMap<String, f64>) -> Score {
//!         Score::within(bits_per_byte.values().sum())
//!     }
//! }
//!
//! fn train(
//!     model: &LanguageModel,
//!     batches: &dyn BatchSource,
//!     training: &Training,
//! ) -> Result<Outcome, TrainError> {
//!     training.validate()?;
//!     let resume = false;
//!     let run = RunFolder::open(Path::new("checkpoints/small"), "seed = 1", resume)?;
//!     let settings = Fit {
//!         training,
//!         evaluation: &EvaluationConfig::default().resolve(1000, EVALUATIONS),
//!         evaluate_first: true,
//!         checkpoint: &Checkpointing {
//!             every: Interval::Steps(100),
//!             keep: 2,
//!             milestones: Vec::new(),
//!         },
//!         seed: 1,
//!         data_fingerprint: "sha256 of the dataset".into(),
//!         ops: Ops::fused(Precision::F32),
//!         stop: &AtomicBool::new(false),
//!     };
//!     let task = TrainingTask {
//!         objective: model,
//!         batches,
//!     };
//!     fit(&settings, &run, task, &mut Fixed, &mut Silent)
//! }
//! ```

mod backward;
mod cadence;
mod changes;
mod checkpoint;
mod checkpoints;
mod config;
mod control;
mod disk;
mod environment;
mod error;
mod extension;
mod fit;
mod gradient_check;
mod hyperparameters;
mod inspect;
mod language_model;
mod launch;
mod lengthen;
mod located;
mod metrics;
mod objective;
mod optimizer;
mod outcome;
mod penalty;
mod plan;
mod progress;
mod resolve;
mod resumable;
mod run_folder;
mod run_settings;
mod saved;
mod schedule;
mod score;
mod tensorboard;
mod timing;
mod training;

pub use cadence::{
    CheckpointConfig, Checkpointing, EVALUATIONS, Evaluation, EvaluationConfig, Interval, Never,
    SCORED_TOKENS,
};
pub use changes::changed_key;
pub use checkpoint::{Best, Checkpoint, RunState, chosen_on, sha256_of, verify};
pub use checkpoints::{finished, is_finished, step_name};
pub use config::{
    BATCH_SIZE, EXCLUSIVE_KEYS, OptimizerChoice, Recompute, Schedule, TrainingConfig, WEIGHT_DECAY,
};
pub use control::{ControlPlan, Controller, Monitor, ReplayPlan};
pub use disk::{DiskPlan, check_all};
pub use environment::Environment;
pub use error::TrainError;
pub use extension::Extension;
pub use fit::{TrainingTask, fit, fit_controlled};
pub use inspect::{Check, Inspection, StoredCheckpoint, linked, remove_checkpoints};
pub use language_model::LanguageModel;
pub use launch::{Launch, memory_of};
pub use lengthen::Continued;
pub use located::{is_same_place, locate, project_of};
pub use metrics::{EvaluationMetrics, Metrics, StepMetrics, read_metrics};
pub use objective::{BatchSource, Evaluator, Losses, Objective, Observer, SaveModel, Silent};
pub use optimizer::{Optimizer, optimizer_of_state};
pub use outcome::Outcome;
pub use penalty::Penalty;
pub use plan::Plan;
pub use polymath_ops::UpdateAt;
pub use resolve::{Resolved, published, resolve, resolve_base, resolve_checkpoint};
pub use resumable::check_batch_rules;
pub use run_folder::{RunFolder, point};
pub use run_settings::Fit;
pub use saved::{extensions_of, saved_config};
pub use schedule::learning_rate;
pub use score::Score;
pub use timing::{Cost, CostPart, EvaluationCounts, StepTime, time_evaluation, time_steps};
pub use training::{Length, Training, TrainingDefaults};
