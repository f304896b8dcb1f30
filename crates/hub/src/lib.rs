//! Downloads models and datasets from the Hugging Face hub and pushes models to it.
//!
//! Everything uses the hub's own client, the crate `hf-hub`, and so its cache (`HF_HOME`, `HF_HUB_CACHE`), its token
//! (`HF_TOKEN`, or the one saved by `hf auth login`) and its address (`HF_ENDPOINT`). With `HF_HUB_OFFLINE=1`, only the
//! cache is used.
//!
//! ```no_run
//! use polymath_hub::{Repository, model_folder};
//!
//! let repository = Repository::parse("HuggingFaceTB/SmolLM2-135M").expect("owner/name");
//! println!("{}", model_folder(&repository, &|_| Ok(()))?.display());
//! # Ok::<(), polymath_hub::HubError>(())
//! ```
//!
//! The client, and with it HTTP, TLS and the chunked store, is the feature `client`. Without it, names and cards are
//! read, and a download or push is an error that says so.

#[cfg(feature = "client")]
mod answer;
mod card;
#[cfg(feature = "client")]
mod dataset;
mod error;
#[cfg(not(feature = "client"))]
mod left_out;
#[cfg(feature = "client")]
mod model;
#[cfg(feature = "client")]
mod progress;
#[cfg(feature = "client")]
mod push;
#[cfg(feature = "client")]
mod remote;
mod repository;
#[cfg(feature = "client")]
mod resume;
#[cfg(feature = "client")]
mod splits;
mod transfer;
mod upload;

pub use card::{CARD, front_matter};
#[cfg(feature = "client")]
pub use dataset::dataset_files;
pub use error::HubError;
#[cfg(not(feature = "client"))]
pub use left_out::{dataset_files, model_folder, push};
#[cfg(feature = "client")]
pub use model::model_folder;
#[cfg(feature = "client")]
pub use push::push;
pub use repository::{DatasetFiles, Repository};
pub use transfer::{Direction, Transfer, watch_transfers};
pub use upload::{Content, Push, Pushed, Upload};
