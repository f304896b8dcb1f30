//! Models and data sets of the Hugging Face hub.
//!
//! Everything goes through the hub's own client, [`hf_hub`], and so through its cache (`HF_HOME`, `HF_HUB_CACHE`), its
//! token (`HF_TOKEN`, or the one that `hf auth login` left) and its address (`HF_ENDPOINT`). With `HF_HUB_OFFLINE=1`
//! only the cache is asked.

mod download;
mod repository;

pub use download::{Download, HubError, dataset_files, model_folder, watch_downloads};
pub use repository::{DatasetFiles, Repository};
