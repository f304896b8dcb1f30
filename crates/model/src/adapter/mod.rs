//! Low-rank adapters (Hu 2021; DoRA: Liu 2024): small matrices that learn beside projections that stay.

mod config;
mod files;
mod low_rank;
mod peft;
mod weights;

pub use config::LoraConfig;
pub use files::{is_adapter, load_adapter, named_base, save_adapter};
pub use weights::{Adapter, AdapterBase, NamedBase};

pub(crate) use files::base_folder;
pub(crate) use low_rank::Projection;

/// What an adapter's parameters are called, after their projection's name.
pub(crate) const A: &str = "lora_A.weight";
pub(crate) const B: &str = "lora_B.weight";
pub(crate) const MAGNITUDE: &str = "lora_magnitude_vector";
