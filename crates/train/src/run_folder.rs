//! A run's folder: who may write to it, what is in it, and how checkpoints come and go.
//!
//! Every change of the folder is made by the process that holds its lock, and ends in one rename. A process that is killed
//! between two renames leaves a state that the next `--resume` completes: the checkpoints' own `state.json` files say where
//! the run stands; links, rotation and leftovers follow from them.

use std::path::{Path, PathBuf};

use polymath_files::{Attempt, Lock, StagedFolder};

use crate::changes::refuse_changes;
use crate::checkpoint::{self, Best, Checkpoint, OPTIMIZER, State};
use crate::metrics::{METRICS, MetricsFile};
use crate::resumable::refuse_unfit;
use crate::{CheckpointConfig, Optimizer, Outcome, SaveModel, TrainError};

const CONFIG: &str = "run.toml";
const LOCK: &str = ".lock";
/// What older versions of the program left half-written; this one has names for it that nobody else uses
/// ([`polymath_files::is_leftover`]).
const OLD_LEFTOVERS: [&str; 7] = [
    "run.tmp",
    "metrics.tmp",
    "teacher.tmp",
    ".tmp-latest",
    ".tmp-best",
    ".tmp-closest",
    ".tmp-mixed",
];
/// The same of a checkpoint, before its name.
const OLD_LEFTOVER: &str = ".tmp-";

/// The folder of one run, held exclusively.
pub struct RunFolder {
    path: PathBuf,
    /// What `run.toml` is to say.
    config: String,
    resumed: Option<Checkpoint>,
    skipped: Vec<String>,
    // Held as long as the run lives; the system lets go of it when the process ends, however it ends.
    _lock: Lock,
}

impl RunFolder {
    /// Makes the folder, or opens it to resume; `config` is the resolved config that is saved with the run. With `resume`, a
    /// finished run is opened too: see [`Self::nothing_left`]. A run that is resumed keeps its config and its links as they are
    /// until [`Self::take_up`], since it may still be refused.
    ///
    /// # Errors
    /// The folder is in use, finished or interrupted (without `resume`), holds something else, or was started with
    /// another config.
    pub fn open(path: &Path, config: &str, resume: bool) -> Result<Self, TrainError> {
        let saved = path.join(CONFIG);
        refuse_stranger(path)?;
        std::fs::create_dir_all(path).map_err(TrainError::file("make the folder", path))?;
        let lock = lock(path)?;
        // Another process may have made a run of it while this one came to the lock.
        refuse_stranger(path)?;
        clear_leftovers(path)?;
        let (found, skipped) = newest(path)?;
        match &found {
            Some(found) => {
                refuse_unfit(path, &found.state, resume)?;
                refuse_changes(&saved, config)?;
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
            resumed: found,
            skipped,
            _lock: lock,
        };
        if run.resumed.is_none() {
            write(&saved, run.config.as_bytes())?;
        }
        Ok(run)
    }

    /// Begins to change the folder of a run that goes on, which nothing refuses any more: saves the config, sets broken
    /// checkpoints aside, points the links to where the run stands and removes old checkpoints. [`crate::fit`] does it itself.
    ///
    /// # Errors
    /// A folder that can't be written.
    pub fn take_up(&self, kept: &CheckpointConfig) -> Result<(), TrainError> {
        let Some(Checkpoint { state, .. }) = &self.resumed else {
            return Ok(());
        };
        write(&self.path.join(CONFIG), self.config.as_bytes())?;
        self.set_aside(state.step)?;
        self.point("latest", &step_name(state.step))?;
        self.mark_best(state)?;
        // A process that was killed after its last checkpoint had not come to it.
        self.rotate(state.best.map(|best| best.step), kept)
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The checkpoint to go on from.
    pub fn resumed(&self) -> Option<&Checkpoint> {
        self.resumed.as_ref()
    }

    /// Checkpoints that were passed over because they are broken, each with the reason.
    pub fn skipped(&self) -> &[String] {
        &self.skipped
    }

    fn is_finished(&self) -> bool {
        self.resumed
            .as_ref()
            .is_some_and(|from| from.state.finished)
    }

    /// The outcome of a run that was finished already, else `None`. What a killed process left undone after the last checkpoint
    /// is completed: `latest` points to it, and old checkpoints go, as `kept` says. `best` is the caller's: see
    /// [`Self::mark_best`].
    ///
    /// # Errors
    /// A folder that can't be written.
    pub fn nothing_left(&self, kept: &CheckpointConfig) -> Result<Option<Outcome>, TrainError> {
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
        // A fresh run keeps nothing of one that was cut off before its first checkpoint.
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

    /// Saves a checkpoint: written beside, synced, renamed; then `latest` and `best` move, and old ones go. One of the same step
    /// is replaced.
    pub(crate) fn save(
        &self,
        state: State,
        model: &dyn SaveModel,
        optimizer: &Optimizer,
        kept: &CheckpointConfig,
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

    /// Makes `best` point to the best checkpoint that `state` knows of; a link to one that is gone goes too.
    ///
    /// # Errors
    /// A folder that can't be written.
    pub fn mark_best(&self, state: &State) -> Result<(), TrainError> {
        if let Some(Best { step, .. }) = state.best {
            let name = step_name(step);
            let checkpoint = self.path.join(&name);
            // One that can't be looked up is not one that is gone.
            if polymath_files::exists(&checkpoint)
                .map_err(TrainError::file("look up", &checkpoint))?
            {
                return self.point("best", &name);
            }
        }
        self.unlink("best")
    }

    /// Makes the link `name` point to `target` in the folder, in one step.
    ///
    /// # Errors
    /// A folder that can't be written.
    pub fn point(&self, name: &str, target: &str) -> Result<(), TrainError> {
        let link = self.path.join(name);
        if std::fs::read_link(&link).is_ok_and(|found| found == Path::new(target)) {
            return Ok(());
        }
        let beside = self.path.join(format!(".{name}.polymath-tmp"));
        remove(&beside)?;
        link_to(target, &beside).map_err(TrainError::file("link", &link))?;
        std::fs::rename(&beside, &link).map_err(TrainError::file("link", &link))?;
        self.sync()
    }

    /// Removes the link `name`, if it is there.
    ///
    /// # Errors
    /// A folder that can't be written.
    pub fn unlink(&self, name: &str) -> Result<(), TrainError> {
        remove(&self.path.join(name))
    }

    fn sync(&self) -> Result<(), TrainError> {
        polymath_files::sync_folder(&self.path).map_err(TrainError::file("sync", &self.path))
    }

    /// Renames the broken checkpoints beyond `step`: they must not count as checkpoints, and may still be looked into.
    fn set_aside(&self, step: u64) -> Result<(), TrainError> {
        for (broken, path) in steps(&self.path)? {
            if broken > step {
                let aside = self.path.join(format!("broken-{}", step_name(broken)));
                remove(&aside)?;
                std::fs::rename(&path, &aside).map_err(TrainError::file("rename", &path))?;
            }
        }
        Ok(())
    }

    /// Removes what neither counts among the newest nor is the best, a milestone, or the newest itself. A checkpoint that was
    /// saved only because the run was stopped goes as soon as there is a newer one, so that a run which was stopped keeps
    /// what one that was not stopped keeps.
    pub(crate) fn rotate(
        &self,
        best: Option<u64>,
        kept: &CheckpointConfig,
    ) -> Result<(), TrainError> {
        let mut steps = steps(&self.path)?;
        let newest = steps.last().map(|(step, _)| *step);
        steps.retain(|(step, _)| Some(*step) == newest || !kept.milestones.contains(step));
        let (stopped, steps): (Vec<_>, Vec<_>) = steps
            .into_iter()
            .partition(|(step, path)| Some(*step) != newest && checkpoint::was_stopped(path));
        // The newest always stays: it is what `latest` points to.
        let old = steps.len().saturating_sub(kept.keep.max(1));
        for (step, path) in stopped.iter().chain(&steps[..old]) {
            if Some(*step) != best {
                self.discard(path)?;
            }
        }
        Ok(())
    }

    /// Removes a checkpoint: first its name, so that what is half-removed is no checkpoint.
    fn discard(&self, checkpoint: &Path) -> Result<(), TrainError> {
        let name = checkpoint.file_name().unwrap_or_default().to_string_lossy();
        let aside = self.path.join(format!(".old-{name}.polymath-tmp"));
        remove(&aside)?;
        std::fs::rename(checkpoint, &aside).map_err(TrainError::file("remove", checkpoint))?;
        remove(&aside)
    }
}

/// The name of the checkpoint after `step` in a run folder.
pub fn step_name(step: u64) -> String {
    format!("step-{step:06}")
}

#[cfg(unix)]
fn link_to(target: &str, link: &Path) -> std::io::Result<()> {
    std::os::unix::fs::symlink(target, link)
}

/// Elsewhere links take special rights: a text file names the target.
#[cfg(not(unix))]
fn link_to(target: &str, link: &Path) -> std::io::Result<()> {
    std::fs::write(link, target)
}

/// Where a run stands that has done all its steps; `None` of any other folder.
pub fn finished(run: &Path) -> Option<State> {
    if !run.is_dir() {
        return None;
    }
    let (found, _) = newest(run).ok()?;
    found
        .map(|found| found.state)
        .filter(|state| state.finished)
}

/// Whether a run folder holds a run that has done all its steps.
pub fn is_finished(run: &Path) -> bool {
    finished(run).is_some()
}

/// Refuses a folder that holds what no run made. Where another process is about to begin a run in it, that is what is said.
fn refuse_stranger(path: &Path) -> Result<(), TrainError> {
    if path.join(CONFIG).exists() || is_unused(path)? {
        return Ok(());
    }
    // Another process may just be making a run of it.
    let held = polymath_files::holder(&path.join(LOCK)).ok().flatten();
    if let Some(process) = held {
        return Err(in_use(path, process));
    }
    Err(TrainError::Run(format!(
        "`{}` holds files but is no run folder: choose another `run`",
        path.display()
    )))
}

/// Whether a folder is not there, empty, or holds only what a first start that was cut off left.
fn is_unused(path: &Path) -> Result<bool, TrainError> {
    let entries = match std::fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(TrainError::file("read", path)(error)),
    };
    for entry in entries {
        let name = entry.map_err(TrainError::file("read", path))?.file_name();
        if name != LOCK && !is_leftover(&name) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn lock(path: &Path) -> Result<Lock, TrainError> {
    let file = path.join(LOCK);
    match polymath_files::lock(&file).map_err(TrainError::file("lock", &file))? {
        Attempt::Locked(lock) => Ok(lock),
        Attempt::HeldBy(process) => Err(in_use(path, process)),
    }
}

fn in_use(path: &Path, process: Option<u32>) -> TrainError {
    let process = process.map_or(String::new(), |id| format!(" (process {id})"));
    TrainError::Run(format!(
        "the run `{}` is in use by another process{process}: wait for it, or choose another `run`",
        path.display()
    ))
}

/// The checkpoints of a run, oldest first.
fn steps(run: &Path) -> Result<Vec<(u64, PathBuf)>, TrainError> {
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

/// The newest whole checkpoint, and why newer ones were passed over.
fn newest(run: &Path) -> Result<(Option<Checkpoint>, Vec<String>), TrainError> {
    let mut skipped = Vec::new();
    for (_, path) in steps(run)?.into_iter().rev() {
        match checkpoint::verify(&path) {
            Ok(state) => return Ok((Some(Checkpoint { path, state }), skipped)),
            Err(error @ TrainError::Broken { .. }) => skipped.push(error.to_string()),
            // What can't be read at the moment, or by this version, is not broken.
            Err(error) => return Err(error),
        }
    }
    Ok((None, skipped))
}

/// Whether a process of this program that was killed left a file of this name in a run folder.
fn is_leftover(name: &std::ffi::OsStr) -> bool {
    let shown = name.to_string_lossy();
    let old_checkpoint = shown
        .strip_prefix(OLD_LEFTOVER)
        .is_some_and(|name| checkpoint::step_of(name).is_some());
    polymath_files::is_leftover(name) || OLD_LEFTOVERS.contains(&&*shown) || old_checkpoint
}

/// Removes what a process that was killed while writing left behind, and gives a checkpoint its place back that was about to be
/// replaced.
fn clear_leftovers(run: &Path) -> Result<(), TrainError> {
    polymath_files::clear_leftovers(run).map_err(TrainError::file("clear", run))?;
    for entry in std::fs::read_dir(run).map_err(TrainError::file("read", run))? {
        let path = entry.map_err(TrainError::file("read", run))?.path();
        if is_leftover(path.file_name().unwrap_or_default()) {
            remove(&path)?;
        }
    }
    Ok(())
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), TrainError> {
    polymath_files::write(path, bytes).map_err(TrainError::file("write", path))
}

/// Removes a file, link or folder, if it is there.
fn remove(path: &Path) -> Result<(), TrainError> {
    polymath_files::remove(path).map_err(TrainError::file("remove", path))
}
