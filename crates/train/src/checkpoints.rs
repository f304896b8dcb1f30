//! Checkpoints in a run folder, by their steps.

use std::path::{Path, PathBuf};

use crate::TrainError;
use crate::checkpoint::{self, Checkpoint, RunState};
use crate::lengthen::{is_ended, last_extension};
use crate::saved::training_of_run;

/// Returns the name of the checkpoint after `step` in a run folder.
pub fn step_name(step: u64) -> String {
    format!("step-{step:06}")
}

/// Returns the checkpoints of a run as (step, folder), oldest first.
pub(crate) fn steps(run: &Path) -> Result<Vec<(u64, PathBuf)>, TrainError> {
    let mut steps = Vec::new();
    for entry in std::fs::read_dir(run).map_err(TrainError::file("read", run))? {
        let path = entry.map_err(TrainError::file("read", run))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if let Some(step) = checkpoint::step_of(&name) {
            steps.push((step, path));
        }
    }
    steps.sort();
    Ok(steps)
}

/// Returns the most recent complete checkpoint, and the reasons why more recent ones were skipped.
pub(crate) fn newest(run: &Path) -> Result<(Option<Checkpoint>, Vec<String>), TrainError> {
    let mut skipped = Vec::new();
    for (_, path) in steps(run)?.into_iter().rev() {
        match checkpoint::verify(&path) {
            Ok(state) => return Ok((Some(Checkpoint { path, state }), skipped)),
            Err(error @ TrainError::Broken { .. }) => skipped.push(error.to_string()),
            // A checkpoint that can't be read at the moment, or not by this version, is not broken.
            Err(error) => return Err(error),
        }
    }
    Ok((None, skipped))
}

/// Returns the state of a finished run, or `None` for any other folder.
pub fn finished(run: &Path) -> Option<RunState> {
    if !run.is_dir() {
        return None;
    }
    let (found, _) = newest(run).ok()?;
    let state = found?.state;
    let extended = training_of_run(run).as_ref().and_then(last_extension);
    is_ended(&state, extended).then_some(state)
}

/// Returns true if the folder holds a finished run.
pub fn is_finished(run: &Path) -> bool {
    finished(run).is_some()
}
