//! Downloads models and datasets from the Hugging Face hub and pushes models to it.
//!
//! Everything uses the hub's own client, [`hf_hub`], and so its cache (`HF_HOME`, `HF_HUB_CACHE`), its token
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

mod card;
mod dataset;
mod error;
mod model;
mod push;
mod remote;
mod repository;
mod resume;
mod splits;
mod transfer;

pub use card::{CARD, front_matter};
pub use dataset::dataset_files;
pub use error::HubError;
pub use model::model_folder;
pub use push::{Content, Push, Pushed, Upload, push};
pub use repository::{DatasetFiles, Repository};
pub use transfer::{Direction, Transfer, watch_transfers};
