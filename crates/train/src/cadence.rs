//! The `[evaluation]` and `[checkpoint]` tables, shared by both phases: intervals of evaluation and saving.

use serde::{Deserialize, Serialize};

use crate::TrainError;

/// The `[evaluation]` table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EvaluationConfig {
    /// Steps between two evaluations.
    pub every: u64,
    /// Held-out tokens of each domain's dev split that are scored during the run, and of its test split in the verdict
    /// on limits (the report scores them all); default: 20 000, under limits 40 000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u64>,
}

const MAX_TOKENS: u64 = 20_000;

impl Default for EvaluationConfig {
    fn default() -> Self {
        Self {
            every: 200,
            max_tokens: None,
        }
    }
}

/// The `[checkpoint]` table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CheckpointConfig {
    /// Steps between two checkpoints; default: as often as an evaluation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub every: Option<u64>,
    /// Number of checkpoints to keep, besides the best one and the milestones.
    pub keep: usize,
    /// Steps whose checkpoints are kept for good.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub milestones: Vec<u64>,
}

impl Default for CheckpointConfig {
    fn default() -> Self {
        Self {
            every: None,
            keep: 2,
            milestones: Vec::new(),
        }
    }
}

impl EvaluationConfig {
    /// Held-out tokens of each domain that are scored during training.
    pub fn max_tokens(&self) -> u64 {
        self.max_tokens.unwrap_or(MAX_TOKENS)
    }

    /// Checks every value.
    ///
    /// # Errors
    /// The key at fault.
    pub fn validate(&self) -> Result<(), TrainError> {
        for (key, value) in [("every", self.every), ("max_tokens", self.max_tokens())] {
            if value == 0 {
                return Err(TrainError::Config(format!(
                    "`evaluation.{key}` = `0`: expected at least 1"
                )));
            }
        }
        Ok(())
    }
}

impl CheckpointConfig {
    /// Checks every value.
    ///
    /// # Errors
    /// The key at fault.
    pub fn validate(&self) -> Result<(), TrainError> {
        if self.every == Some(0) {
            return Err(TrainError::Config(
                "`checkpoint.every` = `0`: expected at least 1, or leave it out to save after each evaluation"
                    .into(),
            ));
        }
        Ok(())
    }
}
