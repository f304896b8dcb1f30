//! Downloads of models and datasets from the Hugging Face hub, and pushes of models to it.
//!
//! This crate uses Hugging Face's own client, the crate `hf-hub`. So the cache (`HF_HOME`, `HF_HUB_CACHE`), the token
//! (`HF_TOKEN`, or the one saved by `hf auth login`) and the address (`HF_ENDPOINT`) are those of all Hugging Face
//! tools. With `HF_HUB_OFFLINE=1`, only the cache is used.
//!
//! ```no_run
//! use polymath_hub::{Repository, model_folder};
//!
//! let repository = Repository::parse("HuggingFaceTB/SmolLM2-135M").expect("owner/name");
//! println!("{}", model_folder(&repository, &|_| Ok(()))?.display());
//! # Ok::<(), polymath_hub::HubError>(())
//! ```
//!
//! The client, with its dependencies for HTTP, TLS and the chunked store, is enabled by the feature `client`. Without
//! it, this crate still parses names and cards, but downloads and pushes return an error.

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
