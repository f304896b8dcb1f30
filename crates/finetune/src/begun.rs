//! Defaults of a run that has begun: it keeps those that it was begun with, whichever this version has.

use std::path::Path;

use polymath_train::OptimizerChoice;

use crate::FinetuneConfig;
use crate::base::has_checkpoints;
use crate::retention::{EARLIER_TOKENS, ReplayConfig, ReplaySource};

/// Learning rate of a run of an earlier version whose `run.toml` has none.
const EARLIER_RATE: f64 = 3e-4;
/// Weight decay of a run of an earlier version whose `run.toml` has none.
const EARLIER_DECAY: f64 = 0.1;

/// Returns the configuration that the run in this folder was begun with. Returns `None` if the run has no checkpoint
/// or its configuration can't be read; opening the folder explains why.
pub(crate) fn begun_with(run: &Path) -> Option<FinetuneConfig> {
    if !has_checkpoints(run) {
        return None;
    }
    let text = polymath_base::read_to_string(run.join("run.toml")).ok()?;
    let mut begun: FinetuneConfig = toml::from_str(&text).ok()?;
    begun.keep_earlier_defaults();
    Some(begun)
}

impl FinetuneConfig {
    /// Fills in the defaults of earlier versions that this version would choose otherwise. A `run.toml` of this
    /// version has values for all of them.
    pub(crate) fn keep_earlier_defaults(&mut self) {
        let training = &mut self.training;
        training.optimizer.get_or_insert(OptimizerChoice::Adamw);
        training.weight_decay.get_or_insert(EARLIER_DECAY);
        training.learning_rate.get_or_insert(EARLIER_RATE);
        training.accumulation_steps.get_or_insert(1);
        if let Some(replay) = self.generated_replay() {
            replay.tokens.get_or_insert(EARLIER_TOKENS);
        }
    }

    /// Returns the replay of text that the base generates, if there is one.
    fn generated_replay(&mut self) -> Option<&mut ReplayConfig> {
        let replay = self.retention.replay.as_mut();
        replay.filter(|replay| replay.source == ReplaySource::Generated)
    }

    /// Takes the values of a run that has begun for keys that this config does not set and whose defaults have changed
    /// or depend on files beside the base, which may be gone.
    pub(crate) fn keep_defaults_of(&mut self, begun: &Self) {
        let (training, saved) = (&mut self.training, &begun.training);
        training.optimizer = training.optimizer.or(saved.optimizer);
        training.weight_decay = training.weight_decay.or(saved.weight_decay);
        training.learning_rate = training.learning_rate.or(saved.learning_rate);
        training.accumulation_steps = training.accumulation_steps.or(saved.accumulation_steps);
        let saved = begun.retention.replay.as_ref();
        let tokens = saved.and_then(|replay| replay.tokens);
        if let Some(replay) = self.generated_replay() {
            replay.tokens = replay.tokens.or(tokens);
        }
        if self.lora.is_none() && self.method == begun.method {
            self.lora.clone_from(&begun.lora);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> FinetuneConfig {
        toml::from_str(&format!(
            "base = \"b\"\ntexts = [\"t\"]\nrun = \"r\"\n{text}"
        ))
        .unwrap()
    }

    /// Checks that a run keeps the defaults of its `run.toml`, or those of the version that saved none, and that a key
    /// of the config wins.
    #[test]
    fn a_run_keeps_the_defaults_that_it_was_begun_with() {
        let root = tempfile::tempdir().unwrap();
        let run = root.path();
        let saved = "base = \"b\"\ntexts = [\"t\"]\nrun = \"r\"\nmethod = \"lora\"\n[lora]\nrank = 8\nalpha = 16.0\n\
                     targets = [\"q_proj\"]\n[training]\nsteps = 3\noptimizer = \"muon\"";
        std::fs::write(run.join("run.toml"), saved).unwrap();
        assert!(begun_with(run).is_none(), "a run without checkpoints");
        std::fs::create_dir(run.join("step-000001")).unwrap();
        let begun = begun_with(run).unwrap();
        let mut resumed = config("method = \"lora\"\n[training]\nsteps = 3");
        resumed.keep_defaults_of(&begun);
        assert_eq!(resumed.training.optimizer, Some(OptimizerChoice::Muon));
        assert_eq!(resumed.training.weight_decay, Some(0.1));
        assert_eq!(resumed.training.learning_rate, Some(3e-4));
        assert_eq!(resumed.training.accumulation_steps, Some(1));
        assert_eq!(resumed.lora.unwrap().targets, ["q_proj"]);
        let mut other = config("[training]\nsteps = 3\nweight_decay = 0.0\noptimizer = \"adamw\"");
        other.keep_defaults_of(&begun);
        assert_eq!(other.training.optimizer, Some(OptimizerChoice::Adamw));
        assert_eq!(other.training.weight_decay, Some(0.0));
        assert_eq!(other.lora, None);
    }
}
