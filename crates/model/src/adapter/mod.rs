//! Low-rank adapters ([LoRA](https://arxiv.org/abs/2106.09685), Hu 2021; [DoRA](https://arxiv.org/abs/2402.09353),
//! Liu 2024): small trainable matrices added to frozen projections.

mod config;
mod files;
mod low_rank;
mod peft;
mod weights;

pub use config::LoraConfig;
pub use files::{is_adapter, load_adapter, named_base, read_adapter, save_adapter};
pub use weights::{Adapter, AdapterBase, NamedBase};

pub(crate) use files::base_folder;
pub(crate) use low_rank::Projection;

/// Names of an adapter's parameters, appended to the name of their projection.
pub(crate) const A: &str = "lora_A.weight";
pub(crate) const B: &str = "lora_B.weight";
pub(crate) const MAGNITUDE: &str = "lora_magnitude_vector";
