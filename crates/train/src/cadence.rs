//! The `[evaluation]` and `[checkpoint]` tables, shared by pretraining and fine-tuning: intervals of evaluation and
//! saving.

use serde::{Deserialize, Serialize};

use crate::TrainError;

/// Interval between two evaluations, or between two checkpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a number of steps, or \"never\"")]
pub enum Interval {
    /// Number of steps from one evaluation or checkpoint to the next.
    Steps(u64),
    /// The word `never`: evaluates or saves only at the end of the run.
    Word(Never),
}

/// The word `never`, which a config may give in place of a number of steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Never {
    /// Evaluates or saves only at the end of the run.
    Never,
}

impl Interval {
    /// Interval of a single evaluation or checkpoint, at the end of the run.
    pub const NEVER: Self = Self::Word(Never::Never);

    /// Returns true if an evaluation or a checkpoint is due after `step`.
    pub fn is_due(self, step: u64) -> bool {
        match self {
            Self::Steps(every) => step.is_multiple_of(every),
            Self::Word(Never::Never) => false,
        }
    }

    /// Returns this interval, or `most` steps if the interval is longer.
    pub fn at_most(self, most: u64) -> Self {
        match self {
            Self::Steps(every) => Self::Steps(every.min(most)),
            Self::Word(Never::Never) => Self::Steps(most),
        }
    }

    fn validate(self, key: &str) -> Result<(), TrainError> {
        match self {
            Self::Steps(0) => Err(TrainError::Config(format!(
                "`{key}` = `0`: expected at least 1, or \"never\""
            ))),
            _ => Ok(()),
        }
    }
}

/// The `[evaluation]` table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EvaluationConfig {
    /// Steps between two evaluations, or `"never"` for a single one at the end; default: a twentieth of the run. A
    /// fine-tuning is evaluated less often if its evaluations would take more than a quarter of the training's time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub every: Option<Interval>,
    /// Maximum number of held-out tokens of each domain that are scored: on the dev split during the run, and on the
    /// test split for the verdict on limits. (The report scores all of them.) With limits, most evaluations score a
    /// sample of them. Default: 20 000, or 40 000 with limits.
    #[serde(
        deserialize_with = "polymath_config::optional_count",
        skip_serializing_if = "Option::is_none"
    )]
    pub max_tokens: Option<u64>,
}

/// Usual number of evaluations of a run.
pub const EVALUATIONS: u64 = 20;
/// Default maximum number of held-out tokens of each domain that an evaluation scores.
pub const SCORED_TOKENS: u64 = 20_000;
/// Default number of recent checkpoints to keep.
const KEEP: usize = 2;

/// The `[checkpoint]` table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CheckpointConfig {
    /// Steps between two checkpoints, or `"never"` to save only the best and the last step; default: the interval of
    /// evaluations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub every: Option<Interval>,
    /// Number of most recent checkpoints to keep, besides the best one and the milestones.
    pub keep: usize,
    /// Steps whose checkpoints are never removed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub milestones: Vec<u64>,
}

impl Default for CheckpointConfig {
    fn default() -> Self {
        Self {
            every: None,
            keep: KEEP,
            milestones: Vec::new(),
        }
    }
}

/// Resolved `[evaluation]` table: every default has its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Evaluation {
    /// Interval between two evaluations.
    pub every: Interval,
    /// Maximum number of held-out tokens of each domain that are scored during training.
    pub max_tokens: u64,
}

/// Resolved `[checkpoint]` table: every default has its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Checkpointing {
    /// Interval between two checkpoints.
    pub every: Interval,
    /// Number of most recent checkpoints to keep, besides the best one and the milestones.
    pub keep: usize,
    /// Steps whose checkpoints are never removed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub milestones: Vec<u64>,
}

impl Checkpointing {
    /// Describes the milestones that a run of `total` steps does not reach; `None` if it reaches all of them.
    pub fn unreached(&self, total: u64) -> Option<String> {
        let beyond = self.milestones.iter().filter(|step| **step > total);
        let beyond: Vec<String> = beyond.map(u64::to_string).collect();
        (!beyond.is_empty()).then(|| {
            format!(
                "milestones: the run ends after step {total}, before {} of `checkpoint.milestones`, where nothing is saved",
                beyond.join(", ")
            )
        })
    }
}

impl EvaluationConfig {
    /// Returns the settings of evaluations for a run of `total` steps, with every default filled in. By default, there
    /// are about `evaluations` of them, at least.
    pub fn resolve(&self, total: u64, evaluations: u64) -> Evaluation {
        let every = (total / evaluations).max(1);
        Evaluation {
            every: self.every.unwrap_or(Interval::Steps(every)),
            max_tokens: self.max_tokens.unwrap_or(SCORED_TOKENS),
        }
    }

    /// Checks the values of the `[evaluation]` table.
    ///
    /// # Errors
    /// Fails with the key whose value is out of range.
    pub fn validate(&self) -> Result<(), TrainError> {
        if let Some(every) = self.every {
            every.validate("evaluation.every")?;
        }
        match self.max_tokens {
            Some(0) => Err(TrainError::Config(
                "`evaluation.max_tokens` = `0`: expected at least 1".into(),
            )),
            _ => Ok(()),
        }
    }
}

impl CheckpointConfig {
    /// Returns the settings of checkpoints with every default filled in. By default, checkpoints have the interval of
    /// the evaluations.
    pub fn resolve(&self, evaluation: &Evaluation) -> Checkpointing {
        Checkpointing {
            every: self.every.unwrap_or(evaluation.every),
            keep: self.keep,
            milestones: self.milestones.clone(),
        }
    }

    /// Checks the values of the `[checkpoint]` table.
    ///
    /// # Errors
    /// Fails with the key whose value is out of range.
    pub fn validate(&self) -> Result<(), TrainError> {
        if self.milestones.contains(&0) {
            return Err(TrainError::Config(
                "`checkpoint.milestones` has `0`: expected steps from 1 on, since nothing is saved before the first"
                    .into(),
            ));
        }
        if self.keep == 0 {
            return Err(TrainError::Config(
                "`checkpoint.keep` = `0`: expected at least 1, since a run continues from its newest checkpoint".into(),
            ));
        }
        self.every
            .map_or(Ok(()), |every| every.validate("checkpoint.every"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that checkpoints are as frequent as evaluations, unless the config says otherwise.
    #[test]
    fn checkpoints_have_the_interval_of_evaluations() {
        let evaluation = Evaluation {
            every: Interval::Steps(7),
            max_tokens: 1,
        };
        let config = CheckpointConfig::default();
        assert_eq!(config.resolve(&evaluation).every, Interval::Steps(7));
        let own: CheckpointConfig = toml::from_str("every = 3").unwrap();
        assert_eq!(own.resolve(&evaluation).every, Interval::Steps(3));
    }

    /// Checks that milestones after the last step are told, and that one before the first step is refused.
    #[test]
    fn milestones_beyond_the_run_are_told() {
        let evaluation = EvaluationConfig::default().resolve(20, EVALUATIONS);
        let read = |text: &str| toml::from_str::<CheckpointConfig>(text).unwrap();
        let unreached = |text: &str| read(text).resolve(&evaluation).unreached(20);
        assert_eq!(unreached("milestones = [1, 20]"), None);
        let told = unreached("milestones = [5, 21, 500]").unwrap();
        assert!(
            told.contains("after step 20, before 21, 500 of `checkpoint.milestones`"),
            "{told}"
        );
        let error = read("milestones = [3, 0]")
            .validate()
            .unwrap_err()
            .to_string();
        assert!(error.contains("`checkpoint.milestones` has `0`"), "{error}");
        let error = read("keep = 0").validate().unwrap_err().to_string();
        assert!(error.contains("`checkpoint.keep` = `0`"), "{error}");
    }

    #[test]
    fn an_interval_is_a_number_or_a_word() {
        let read = |text: &str| toml::from_str::<CheckpointConfig>(text);
        let every = |text: &str| read(text).unwrap().every.unwrap();
        assert!(every("every = 3").is_due(6) && !every("every = 3").is_due(7));
        assert!(!every("every = \"never\"").is_due(6));
        assert_eq!(every("every = \"never\"").at_most(4), Interval::Steps(4));
        let saved = toml::to_string(&read("every = \"never\"").unwrap()).unwrap();
        assert!(saved.contains("every = \"never\""), "{saved}");
        let error = read("every = \"often\"").unwrap_err().to_string();
        assert!(error.contains("a number of steps, or \"never\""), "{error}");
        let error = read("every = 0")
            .unwrap()
            .validate()
            .unwrap_err()
            .to_string();
        assert!(error.contains("`checkpoint.every` = `0`"), "{error}");
    }
}
