//! Configuration file of `pretrain`.

use std::path::PathBuf;

use polymath_data::MixtureConfig;
use polymath_model::ArchitectureConfig;
use polymath_train::{CheckpointConfig, EvaluationConfig, TrainingConfig};
use serde::{Deserialize, Serialize};

use crate::RunSize;

/// Configuration of a pretraining run.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PretrainConfig {
    /// Folder of the prepared dataset.
    #[serde(deserialize_with = "polymath_config::folder")]
    pub dataset: PathBuf,
    /// Folder of the run, which is created.
    #[serde(deserialize_with = "polymath_config::folder")]
    pub run: PathBuf,
    /// Seed of the initial weights and of the order of the data.
    #[serde(default = "default_seed")]
    pub seed: u64,
    /// Mixture of the domains.
    #[serde(default)]
    pub mixture: MixtureConfig,
    /// Architecture of the model; default: one that suits the number of training tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ArchitectureConfig>,
    /// Training settings: length, batches, learning rate, optimizer.
    #[serde(default)]
    pub training: TrainingConfig,
    /// Evaluation on held-out documents during the run.
    #[serde(default)]
    pub evaluation: EvaluationConfig,
    /// Checkpoints during the run.
    #[serde(default)]
    pub checkpoint: CheckpointConfig,
}

impl PretrainConfig {
    /// Returns a config for a measurement: model and training have this size, and a step has at most `most_rows` rows.
    /// The config names no dataset.
    pub fn of_size(size: &RunSize, most_rows: usize) -> Self {
        Self {
            dataset: PathBuf::new(),
            run: PathBuf::new(),
            seed: default_seed(),
            mixture: MixtureConfig::default(),
            model: Some(size.model.clone()),
            training: TrainingConfig {
                tokens: Some(size.tokens),
                batch_size: Some(size.batch_size.min(most_rows)),
                sequence_length: Some(size.sequence_length),
                learning_rate: Some(size.learning_rate),
                ..TrainingConfig::default()
            },
            evaluation: EvaluationConfig::default(),
            checkpoint: CheckpointConfig::default(),
        }
    }
}

fn default_seed() -> u64 {
    1
}
