//! Run folder: its content, its links, and the saving of checkpoints.
//!
//! Only the process that holds the lock changes the folder, and every change ends with a single rename. If a process
//! is killed between two renames, the next `--resume` completes the change: the `state.json` of the checkpoints
//! define the position of the run; links, rotation and cleanup follow from them.

mod claim;
mod rotation;

use std::path::{Path, PathBuf};

use candle_core::Device;
pub(crate) use claim::{LOCK, lock};
pub(crate) use rotation::discard;

use polymath_base::{Lock, StagedFolder};

use crate::changes::refuse_changes;
use crate::checkpoint::{self, Best, Checkpoint, OPTIMIZER, RunState};
use crate::checkpoints::{newest, step_name};
use crate::lengthen::{continue_run, is_ended, last_extension};
use crate::metrics::{METRICS, MetricsFile};
use crate::resumable::{refuse_older, refuse_unfit};
use crate::saved::{CONFIG, training_in};
use crate::{
    Checkpointing, Continued, Environment, Optimizer, Outcome, SaveModel, TrainError, Training,
};

/// Folder of one run, locked for this process.
pub struct RunFolder {
    path: PathBuf,
    /// Text of the configuration to save as `run.toml`.
    config: String,
    /// The `[training]` table in the `run.toml` of a resumed run; `None` for a new run.
    saved: Option<Training>,
    /// Number of steps that were finished when the run was last extended.
    extended_after: Option<u64>,
    resumed: Option<Checkpoint>,
    skipped: Vec<String>,
    // Held for the lifetime of the run; the system releases it when the process ends.
    _lock: Lock,
}

impl RunFolder {
    /// Creates the folder, or opens it to resume. `config` is the resolved config, which is saved with the run. With
    /// `resume`, a finished run can be opened too: see [`Self::finished_outcome`]. A resumed run keeps its config and
    /// links until [`Self::prepare_resume`], since it may still be refused.
    ///
    /// # Errors
    /// Fails if the folder is in use, is finished or interrupted (without `resume`), has other content, or was
    /// started with another config.
    pub fn open(path: &Path, config: &str, resume: bool) -> Result<Self, TrainError> {
        Self::open_resolving(path, config, resume, &|_| None)
    }

    /// Opens the folder as [`Self::open`] does. `resolve` fills in the defaults that the saved config of an earlier
    /// version may lack; it returns `None` if it can't.
    ///
    /// # Errors
    /// Fails like [`Self::open`].
    pub fn open_resolving(
        path: &Path,
        config: &str,
        resume: bool,
        resolve: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, TrainError> {
        let saved = path.join(CONFIG);
        claim::refuse_foreign(path)?;
        std::fs::create_dir_all(path).map_err(TrainError::file("make the folder", path))?;
        let lock = claim::lock(path)?;
        // Another process may have created a run here before this one got the lock.
        claim::refuse_foreign(path)?;
        claim::clear_leftovers(path)?;
        let (found, skipped) = newest(path)?;
        let mut training = None;
        match &found {
            Some(found) => {
                refuse_unfit(path, &found.state, resume)?;
                training = refuse_changes(&saved, config, resolve)?;
            }
            None if !skipped.is_empty() => {
                return Err(TrainError::Run(format!(
                    "no checkpoint of `{}` is whole: {}",
                    path.display(),
                    skipped.join("; ")
                )));
            }
            None => {}
        }
        let step = found.as_ref().map_or(0, |found| found.state.step);
        tracing::info!(path = %path.display(), step, "run folder");
        let run = Self {
            path: path.to_path_buf(),
            config: config.to_owned(),
            extended_after: training.as_ref().and_then(last_extension),
            saved: training,
            resumed: found,
            skipped,
            _lock: lock,
        };
        if run.resumed.is_none() {
            write(&saved, run.config.as_bytes())?;
        }
        Ok(run)
    }

    /// Compares the length in `training` with that of the resumed run, and returns `training` with the run's
    /// extensions. If it is longer, extends the run from its newest checkpoint on; the caller must save the result with
    /// [`Self::keep_config`]. `padding` is the share of padding among the positions of a batch.
    ///
    /// # Errors
    /// Fails if the run was longer, had other extensions, or is to be extended and was trained by older rules.
    pub fn lengthen(&mut self, training: &Training, padding: f64) -> Result<Continued, TrainError> {
        let (Some(from), Some(saved)) = (&self.resumed, &self.saved) else {
            return Ok(Continued {
                training: training.clone(),
                said: None,
            });
        };
        let shown = self.path.display().to_string();
        let continued = continue_run((&shown, from.state.step), saved, training, padding)?;
        if continued.said.is_some() {
            refuse_older(&shown, &from.state)?;
        }
        self.extended_after = last_extension(&continued.training);
        self.saved = Some(continued.training.clone());
        Ok(continued)
    }

    /// Returns the `[training]` table of a resumed run, with its extensions.
    pub fn training(&self) -> Option<&Training> {
        self.saved.as_ref()
    }

    /// Replaces the configuration that will be saved with the run.
    pub fn keep_config(&mut self, config: String) {
        self.config = config;
    }

    /// Fails if the run has another length than saved and the caller has not compared it by [`Self::lengthen`].
    pub(crate) fn check_length(&self) -> Result<(), TrainError> {
        let now = training_in(&self.config);
        match (&self.saved, now) {
            (Some(saved), Some(now)) if saved.length != now.length => {
                Err(TrainError::Run(format!(
                    "the run `{}` was saved with another length: compare them by `RunFolder::lengthen` first",
                    self.path.display()
                )))
            }
            _ => Ok(()),
        }
    }

    /// Prepares the folder of a resumed run after all checks: saves the config, renames broken checkpoints, moves the
    /// links to the current step and removes old checkpoints. [`crate::fit`] calls it.
    ///
    /// # Errors
    /// Fails if the folder can't be written.
    pub fn prepare_resume(&self, kept: &Checkpointing) -> Result<(), TrainError> {
        let Some(Checkpoint { state, .. }) = &self.resumed else {
            return Ok(());
        };
        write(&self.path.join(CONFIG), self.config.as_bytes())?;
        self.set_aside(state.step)?;
        self.point("latest", &step_name(state.step))?;
        self.mark_best(state)?;
        // A process that was killed after its last checkpoint may not have done this.
        self.rotate(state.best.map(|best| best.step), kept)
    }

    /// Writes `environment.json` (time, program version and machine) for a new run. A resumed run keeps its file.
    ///
    /// # Errors
    /// Fails for a file that can't be written.
    pub fn note_environment(&self, device: &Device) -> Result<(), TrainError> {
        match &self.resumed {
            Some(_) => Ok(()),
            None => Environment::here(device).write(&self.path),
        }
    }

    /// Returns the path of the run folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the checkpoint to resume from, or `None` for a new run.
    pub fn resumed(&self) -> Option<&Checkpoint> {
        self.resumed.as_ref()
    }

    /// Returns a sentence for each broken checkpoint that was skipped, with the reason.
    pub fn skipped(&self) -> &[String] {
        &self.skipped
    }

    fn is_finished(&self) -> bool {
        let resumed = self.resumed.as_ref();
        resumed.is_some_and(|from| is_ended(&from.state, self.extended_after))
    }

    /// Returns the outcome of a run that is already finished, or `None`. Completes the work after the last checkpoint
    /// that a killed process left undone: moves `latest` to it and removes old checkpoints. The caller handles
    /// `best`: see [`Self::mark_best`].
    ///
    /// # Errors
    /// Fails if the folder can't be written.
    pub fn finished_outcome(&self, kept: &Checkpointing) -> Result<Option<Outcome>, TrainError> {
        let Some(Checkpoint { state, .. }) = self.resumed.as_ref().filter(|_| self.is_finished())
        else {
            return Ok(None);
        };
        self.set_aside(state.step)?;
        self.point("latest", &step_name(state.step))?;
        self.rotate(state.best.map(|best| best.step), kept)?;
        Ok(Some(Outcome::of(state)))
    }

    pub(crate) fn metrics(&self) -> Result<MetricsFile, TrainError> {
        // A new run keeps nothing of one that was killed before its first checkpoint.
        let path = self.path.join(METRICS);
        match &self.resumed {
            Some(Checkpoint { state, .. }) => {
                MetricsFile::open(&path, state.step, state.evaluation_due)
            }
            None => {
                write(&path, b"")?;
                MetricsFile::open(&path, 0, false)
            }
        }
    }

    /// Saves a checkpoint: writes it beside its target, syncs and renames it. Then moves `latest` and `best`, and
    /// removes old checkpoints. Replaces a checkpoint of the same step.
    pub(crate) fn save(
        &self,
        state: RunState,
        model: &dyn SaveModel,
        optimizer: &Optimizer,
        kept: &Checkpointing,
    ) -> Result<PathBuf, TrainError> {
        let name = step_name(state.step);
        let place = self.path.join(&name);
        let staged =
            StagedFolder::create(&place).map_err(TrainError::file("make the folder", &place))?;
        model.save(staged.path())?;
        optimizer.save(&staged.path().join(OPTIMIZER))?;
        let state = checkpoint::seal(staged.path(), state)?;
        staged
            .replace()
            .map_err(TrainError::file("move into place", &place))?;
        self.point("latest", &name)?;
        self.mark_best(&state)?;
        self.rotate(state.best.map(|best| best.step), kept)?;
        Ok(place)
    }

    /// Moves `best` to the best checkpoint of `state`, or removes the link if that checkpoint is gone.
    ///
    /// # Errors
    /// Fails if the folder can't be written.
    pub fn mark_best(&self, state: &RunState) -> Result<(), TrainError> {
        if let Some(Best { step, .. }) = state.best {
            let name = step_name(step);
            let checkpoint = self.path.join(&name);
            // A failed lookup does not mean that the checkpoint is gone.
            if polymath_base::exists(&checkpoint)
                .map_err(TrainError::file("look up", &checkpoint))?
            {
                return self.point("best", &name);
            }
        }
        self.unlink("best")
    }

    /// Points the link `name` in the run folder to the checkpoint `target`, atomically.
    ///
    /// # Errors
    /// Fails if the folder can't be written.
    pub fn point(&self, name: &str, target: &str) -> Result<(), TrainError> {
        point(&self.path, name, target)
    }

    /// Removes the link `name` if it exists.
    ///
    /// # Errors
    /// Fails if the folder can't be written.
    pub fn unlink(&self, name: &str) -> Result<(), TrainError> {
        remove(&self.path.join(name))
    }
}

/// Points the link `name` in `folder` to `target` (relative to the folder), atomically. A folder with a link named
/// `best` can then be opened like a run folder, and stands for the checkpoint to which the link points.
///
/// # Errors
/// Fails if the folder can't be written.
pub fn point(folder: &Path, name: &str, target: &str) -> Result<(), TrainError> {
    let link = folder.join(name);
    if std::fs::read_link(&link).is_ok_and(|found| found == Path::new(target)) {
        return Ok(());
    }
    let beside = folder.join(format!(".{name}.polymath-tmp"));
    remove(&beside)?;
    link_to(target, &beside).map_err(TrainError::file("link", &link))?;
    std::fs::rename(&beside, &link).map_err(TrainError::file("link", &link))?;
    polymath_base::sync_folder(folder).map_err(TrainError::file("sync", folder))
}

#[cfg(unix)]
fn link_to(target: &str, link: &Path) -> std::io::Result<()> {
    std::os::unix::fs::symlink(target, link)
}

/// Writes a text file with the target's name in place of a link, since links require special rights on these systems.
#[cfg(not(unix))]
fn link_to(target: &str, link: &Path) -> std::io::Result<()> {
    std::fs::write(link, target)
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), TrainError> {
    polymath_base::write(path, bytes).map_err(TrainError::file("write", path))
}

/// Removes a file, link or folder if it exists.
fn remove(path: &Path) -> Result<(), TrainError> {
    polymath_base::remove(path).map_err(TrainError::file("remove", path))
}
