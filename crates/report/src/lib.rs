//! Reports: the forgetting report, frontier, transfer matrix and layer resets, each as HTML, Markdown and JSON.
//!
//! The crate needs no model and no training. [`ForgettingReport::new`] compares the scores of a base and its tuned
//! models on the same documents, [`evidence`] finds the forgotten text, and [`write()`] saves the report.
//!
//! ```no_run
//! use candle_core::Device;
//! use polymath_data::{Dataset, Split};
//! use polymath_eval::*;
//! use polymath_model::{LoadOptions, Ops, Precision};
//! use polymath_report::*;
//!
//! let dataset = Dataset::open("data/science".as_ref())?;
//! let options = LoadOptions::frozen(&Device::Cpu, Ops::fused(Precision::F32));
//! let score = |folder: &str| -> Result<ModelScores, Box<dyn std::error::Error>> {
//!     let model = polymath_model::load(folder.as_ref(), &options)?;
//!     let mut scores = ModelScores { path: folder.into(), ..ModelScores::default() };
//!     for name in dataset.domain_names() {
//!         let shard = dataset.shard(name, Split::Heldout)?;
//!         let found = score_shard(&model, &shard, WindowOptions::default(), &mut |_, _| ())?;
//!         println!("{folder}: {name} {:.3} bits per byte", found.bits_per_byte());
//!         scores.domains.insert(name.into(), found);
//!     }
//!     Ok(scores)
//! };
//! let base = score("checkpoints/small/best")?;
//! let mut tuned = score("checkpoints/small-formal/best")?;
//! tuned.niche = Some("formal".into());
//! let report = ForgettingReport::new(&base, &[tuned], ReportSettings::default())?;
//! print!("{}", report.table());
//! write(&report, "report".as_ref())?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod aligned;
pub mod audit;
mod charts;
mod diverged;
mod error;
pub mod evidence;
pub mod forgetting;
pub mod frontier;
mod page;
pub mod pictures;
pub mod reset;
pub mod transfer;
pub mod untrusted;
mod wording;

pub use aligned::aligned;
pub use audit::Audit;
pub use diverged::Diverged;
pub use error::ReportError;
pub use forgetting::{ForgettingReport, ModelScores, ReportSettings, write};
pub use page::check_forms;
pub use polymath_base::bytes_text as bytes;
pub use wording::{counted, duration, worst_increase};
