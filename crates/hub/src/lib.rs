//! Models and data sets of the Hugging Face hub.
//!
//! Everything goes through the hub's own client, [`hf_hub`], and so through its cache (`HF_HOME`, `HF_HUB_CACHE`), its
//! token (`HF_TOKEN`, or the one that `hf auth login` left) and its address (`HF_ENDPOINT`). With `HF_HUB_OFFLINE=1`
//! only the cache is asked.
//!
//! ```no_run
//! use polymath_hub::{Repository, model_folder};
//!
//! let repository = Repository::parse("HuggingFaceTB/SmolLM2-135M").expect("owner/name");
//! println!("{}", model_folder(&repository)?.display());
//! # Ok::<(), polymath_hub::HubError>(())
//! ```

mod download;
mod repository;

pub use download::{Download, HubError, dataset_files, model_folder, watch_downloads};
pub use repository::{DatasetFiles, Repository};
