//! Fine-tuning: trainable parameters, retention methods, and the run.
//!
//! [`Finetuning::open`] validates the config and opens every path; [`Finetuning::run`] trains. Fine-tuning reads a
//! pretraining's results only through its checkpoint folders.
//!
//! ```no_run
//! use polymath_data::NoProgress;
//! use polymath_finetune::{FinetuneConfig, Finetuning};
//! use polymath_train::{Launch, Silent};
//!
//! let config: FinetuneConfig = toml::from_str(&std::fs::read_to_string("finetune.toml")?)?;
//! let finetuning = Finetuning::open(config, &NoProgress)?;
//! println!("{} among {:?}", finetuning.niche(), finetuning.watched());
//! let ended = finetuning.run(&Launch::on(candle_core::Device::Cpu), &mut Silent)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod adapter;
mod base;
mod base_facts;
mod begun;
mod config;
mod durable;
mod ending;
mod error;
mod evaluation_defaults;
mod evaluator;
mod lineage;
mod models;
mod niche;
mod open;
mod recipe;
mod resolve;
pub mod retention;
mod run;
mod selection;
mod training_defaults;
mod tuning;
mod vocabulary;

pub use adapter::choose_adapter;
pub use base_facts::BaseFacts;
pub use config::{FinetuneConfig, VocabularyConfig};
pub use ending::{Divergence, Ending};
pub use error::FinetuneError;
pub use lineage::{Lineage, Stage, chosen_on, datasets_of};
pub use niche::{name_of_texts, new_niche_name};
pub use resolve::ResolvedFinetune;
pub use retention::RetentionConfig;
pub use selection::{FrozenConfig, Method, select};
pub use tuning::Finetuning;
pub use vocabulary::tokenizer_of;
