//! Rotation of checkpoints: removes old ones, and renames broken ones.

use std::path::Path;

use super::{RunFolder, remove};
use crate::checkpoint;
use crate::checkpoints::{step_name, steps};
use crate::{Checkpointing, TrainError};

impl RunFolder {
    /// Renames broken checkpoints of steps after `step`, so that they no longer count as checkpoints but can be
    /// examined.
    pub(super) fn set_aside(&self, step: u64) -> Result<(), TrainError> {
        for (broken, path) in steps(&self.path)? {
            if broken > step {
                let aside = self.path.join(format!("broken-{}", step_name(broken)));
                remove(&aside)?;
                std::fs::rename(&path, &aside).map_err(TrainError::file("rename", &path))?;
            }
        }
        Ok(())
    }

    /// Removes checkpoints that are neither among the most recent nor the best nor a milestone. A checkpoint that was
    /// saved only because the run was stopped is removed once there is a newer one, so that a stopped run keeps the
    /// same checkpoints as an uninterrupted one.
    pub(crate) fn rotate(&self, best: Option<u64>, kept: &Checkpointing) -> Result<(), TrainError> {
        let mut steps = steps(&self.path)?;
        let newest = steps.last().map(|(step, _)| *step);
        steps.retain(|(step, _)| Some(*step) == newest || !kept.milestones.contains(step));
        let (stopped, steps): (Vec<_>, Vec<_>) = steps
            .into_iter()
            .partition(|(step, path)| Some(*step) != newest && checkpoint::was_stopped(path));
        // The most recent checkpoint, the target of `latest`, is always kept.
        let old = steps.len().saturating_sub(kept.keep.max(1));
        for (step, path) in stopped.iter().chain(&steps[..old]) {
            if Some(*step) != best {
                discard(&self.path, path)?;
            }
        }
        Ok(())
    }
}

/// Removes a folder inside the run folder `run`. Renames it first, so that a partly removed folder is not taken for a
/// checkpoint. The caller must hold the run's lock.
pub(crate) fn discard(run: &Path, checkpoint: &Path) -> Result<(), TrainError> {
    let name = checkpoint.file_name().unwrap_or_default().to_string_lossy();
    let aside = run.join(format!(".old-{name}.polymath-tmp"));
    remove(&aside)?;
    std::fs::rename(checkpoint, &aside).map_err(TrainError::file("remove", checkpoint))?;
    remove(&aside)
}
