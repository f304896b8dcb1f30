//! The `pretrain` config file.

use std::path::PathBuf;

use polymath_data::MixtureConfig;
use polymath_model::ArchitectureConfig;
use polymath_train::{CheckpointConfig, EvaluationConfig, TrainingConfig};
use serde::{Deserialize, Serialize};

/// All of a pretraining run.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PretrainConfig {
    /// The prepared data set.
    pub dataset: PathBuf,
    /// The folder of the run.
    pub run: PathBuf,
    /// Of the initial weights and of the order of the data.
    #[serde(default = "default_seed")]
    pub seed: u64,
    /// How the domains are mixed.
    #[serde(default)]
    pub mixture: MixtureConfig,
    /// The model's shape.
    pub model: ArchitectureConfig,
    /// The optimisation.
    pub training: TrainingConfig,
    /// The held-out measurements on the way.
    #[serde(default)]
    pub evaluation: EvaluationConfig,
    /// What is kept on the way.
    #[serde(default)]
    pub checkpoint: CheckpointConfig,
}

fn default_seed() -> u64 {
    1
}
