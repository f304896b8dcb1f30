//! Config file of `pretrain`.

use std::path::PathBuf;

use polymath_data::MixtureConfig;
use polymath_model::ArchitectureConfig;
use polymath_train::{CheckpointConfig, EvaluationConfig, TrainingConfig};
use serde::{Deserialize, Serialize};

/// All of a pretraining run.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PretrainConfig {
    /// The prepared dataset.
    pub dataset: PathBuf,
    /// The folder of the run.
    pub run: PathBuf,
    /// Seed of the initial weights and of the order of the data.
    #[serde(default = "default_seed")]
    pub seed: u64,
    /// Mixture of the domains.
    #[serde(default)]
    pub mixture: MixtureConfig,
    /// The model's shape; default: one that suits the number of training tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ArchitectureConfig>,
    /// Optimization: length, batches, learning rate, optimizer.
    #[serde(default)]
    pub training: TrainingConfig,
    /// Held-out measurements during the run.
    #[serde(default)]
    pub evaluation: EvaluationConfig,
    /// Checkpoints during the run.
    #[serde(default)]
    pub checkpoint: CheckpointConfig,
}

fn default_seed() -> u64 {
    1
}
