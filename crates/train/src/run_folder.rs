//! A run's folder: who may write to it, what is in it, and how checkpoints come and go.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use polymath_data::BATCH_RULE;

use crate::checkpoint::{self, Best, Checkpoint, OPTIMIZER, State, sync, write_atomically};
use crate::metrics::MetricsFile;
use crate::{CheckpointConfig, Optimizer, SaveModel, TrainError};

const CONFIG: &str = "run.toml";
const LOCK: &str = ".lock";
pub(crate) const METRICS: &str = "metrics.jsonl";

/// The folder of one run, held exclusively.
pub struct RunFolder {
    path: PathBuf,
    resumed: Option<Checkpoint>,
    skipped: Vec<String>,
    // Held as long as the run lives; the system lets go of it when the process ends, however it ends.
    _lock: File,
}

impl RunFolder {
    /// Makes the folder, or opens it to resume; `config` is the resolved config that is saved with the run.
    ///
    /// # Errors
    /// The folder is in use, finished, interrupted (without `resume`), holds something else, or was started with
    /// another config.
    pub fn open(path: &Path, config: &str, resume: bool) -> Result<Self, TrainError> {
        let shown = path.display();
        let saved = path.join(CONFIG);
        if path.exists() && !saved.exists() && !is_empty(path)? {
            return Err(TrainError::Run(format!(
                "`{shown}` holds files but is no run folder: choose another `run`"
            )));
        }
        std::fs::create_dir_all(path).map_err(TrainError::file("make the folder", path))?;
        let lock = lock(path)?;
        let (found, skipped) = newest(path)?;
        match &found {
            Some(found) if found.state.finished => {
                return Err(TrainError::Run(format!(
                    "the run `{shown}` is finished ({} steps): choose another `run`, or delete the folder to train \
                     it anew",
                    found.state.step
                )));
            }
            Some(found) if found.state.batch_rule != BATCH_RULE => {
                return Err(other_batches(path, &found.state));
            }
            Some(found) if !resume => {
                return Err(TrainError::Run(format!(
                    "the run `{shown}` was interrupted after step {}: go on with `--resume`, or choose another `run`",
                    found.state.step
                )));
            }
            None if !skipped.is_empty() => {
                return Err(TrainError::Run(format!(
                    "no checkpoint of `{shown}` is whole: {}",
                    skipped.join("; ")
                )));
            }
            Some(_) => refuse_changes(&saved, config)?,
            None => {}
        }
        let step = found.as_ref().map_or(0, |found| found.state.step);
        tracing::info!(path = %shown, step, "run folder");
        clear_leftovers(path)?;
        write_atomically(&saved, config.as_bytes())?;
        let run = Self {
            path: path.to_path_buf(),
            resumed: found,
            skipped,
            _lock: lock,
        };
        if let Some(from) = &run.resumed {
            run.set_aside(from.state.step)?;
            run.point("latest", &step_name(from.state.step))?;
            run.mark_best(&from.state)?;
        }
        Ok(run)
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

    pub(crate) fn metrics(&self) -> Result<MetricsFile, TrainError> {
        // A fresh run keeps nothing of one that was cut off before its first checkpoint.
        let path = self.path.join(METRICS);
        match &self.resumed {
            Some(Checkpoint { state, .. }) => {
                MetricsFile::open(&path, state.step, state.evaluation_due)
            }
            None => {
                write_atomically(&path, b"")?;
                MetricsFile::open(&path, 0, false)
            }
        }
    }

    /// Saves a checkpoint: written beside, synced, renamed; then `latest` and `best` move, and old ones go.
    pub(crate) fn save(
        &self,
        state: State,
        model: &dyn SaveModel,
        optimizer: &Optimizer,
        kept: &CheckpointConfig,
    ) -> Result<PathBuf, TrainError> {
        let name = step_name(state.step);
        let beside = self.path.join(format!(".tmp-{name}"));
        remove(&beside)?;
        let write = || -> Result<State, TrainError> {
            std::fs::create_dir(&beside).map_err(TrainError::file("make the folder", &beside))?;
            model.save(&beside)?;
            optimizer.save(&beside.join(OPTIMIZER))?;
            checkpoint::seal(&beside, state)
        };
        let state = write().inspect_err(|_| {
            // A full disk gets its space back; if even that fails, the first error is the one to tell.
            let _ = remove(&beside);
        })?;
        let place = self.path.join(&name);
        std::fs::rename(&beside, &place).map_err(TrainError::file("move into place", &place))?;
        sync(&self.path)?;
        self.point("latest", &name)?;
        self.mark_best(&state)?;
        self.rotate(state.best.map(|best| best.step), kept)?;
        Ok(place)
    }

    /// Makes `best` point to the best checkpoint that `state` knows of; a link to one that is gone goes too.
    pub(crate) fn mark_best(&self, state: &State) -> Result<(), TrainError> {
        if let Some(Best { step, .. }) = state.best
            && self.path.join(step_name(step)).is_dir()
        {
            return self.point("best", &step_name(step));
        }
        remove(&self.path.join("best"))
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

    fn point(&self, name: &str, target: &str) -> Result<(), TrainError> {
        point(&self.path, name, target)
    }

    fn rotate(&self, best: Option<u64>, kept: &CheckpointConfig) -> Result<(), TrainError> {
        let mut steps = steps(&self.path)?;
        let newest = steps.last().map(|(step, _)| *step);
        steps.retain(|(step, _)| Some(*step) == newest || !kept.milestones.contains(step));
        // The newest always stays: it is what `latest` points to.
        let old = steps.len().saturating_sub(kept.keep.max(1));
        for (step, path) in &steps[..old] {
            if Some(*step) != best {
                remove(path)?;
            }
        }
        Ok(())
    }
}

/// Makes the link `name` of a run folder point to the checkpoint `target` in it, in one step.
///
/// # Errors
/// A folder that can't be written.
pub fn point(run: &Path, name: &str, target: &str) -> Result<(), TrainError> {
    let link = run.join(name);
    let beside = run.join(format!(".tmp-{name}"));
    remove(&beside)?;
    link_to(target, &beside).map_err(TrainError::file("link", &link))?;
    std::fs::rename(&beside, &link).map_err(TrainError::file("link", &link))?;
    sync(run)
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

fn lock(path: &Path) -> Result<File, TrainError> {
    let file = path.join(LOCK);
    let lock = File::create(&file).map_err(TrainError::file("write", &file))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(TrainError::Run(format!(
            "the run `{}` is in use by another process: wait for it, or choose another `run`",
            path.display()
        ))),
        Err(TryLockError::Error(source)) => Err(TrainError::file("lock", &file)(source)),
    }
}

fn is_empty(path: &Path) -> Result<bool, TrainError> {
    let mut entries = std::fs::read_dir(path).map_err(TrainError::file("read", path))?;
    Ok(entries.all(|entry| entry.is_ok_and(|entry| entry.file_name() == LOCK)))
}

/// The checkpoints of a run, oldest first.
fn steps(run: &Path) -> Result<Vec<(u64, PathBuf)>, TrainError> {
    let mut steps = Vec::new();
    for entry in std::fs::read_dir(run).map_err(TrainError::file("read", run))? {
        let path = entry.map_err(TrainError::file("read", run))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if let Some(step) = name
            .strip_prefix("step-")
            .and_then(|step| step.parse().ok())
        {
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
            Err(error) => skipped.push(error.to_string()),
        }
    }
    Ok((None, skipped))
}

/// Removes what a process that was killed while writing left behind.
fn clear_leftovers(run: &Path) -> Result<(), TrainError> {
    for entry in std::fs::read_dir(run).map_err(TrainError::file("read", run))? {
        let path = entry.map_err(TrainError::file("read", run))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with(".tmp-") {
            remove(&path)?;
        }
    }
    Ok(())
}

/// Removes a file, link or folder, if it is there.
fn remove(path: &Path) -> Result<(), TrainError> {
    let Ok(kind) = std::fs::symlink_metadata(path) else {
        return Ok(());
    };
    if kind.is_dir() {
        std::fs::remove_dir_all(path)
    } else {
        std::fs::remove_file(path)
    }
    .map_err(TrainError::file("remove", path))
}

/// Refuses a run that would go on with other batches than it began with.
fn other_batches(run: &Path, state: &State) -> TrainError {
    TrainError::Run(format!(
        "the run `{}` was interrupted after step {} by version {} of this program, which makes batches by rule {} where          this one has rule {BATCH_RULE}: it would go on with other data, in another order. End it with the program that          began it, or choose another `run` and train anew; its checkpoints can still be evaluated",
        run.display(),
        state.step,
        state.program_version,
        state.batch_rule
    ))
}

/// A resumed run must be the run that was started: only how often it is watched and saved may change.
fn refuse_changes(saved: &Path, config: &str) -> Result<(), TrainError> {
    let text = std::fs::read_to_string(saved).map_err(TrainError::file("read", saved))?;
    let parse = |text: &str| text.parse::<toml::Table>().unwrap_or_default();
    let (before, now) = (parse(&text), parse(config));
    let mut keys: Vec<&String> = before.keys().chain(now.keys()).collect();
    // The folder may be written another way or have moved: it is the one that is open.
    keys.retain(|key| !["evaluation", "checkpoint", "run"].contains(&key.as_str()));
    for key in keys {
        if let Some(changed) = difference(key, before.get(key), now.get(key)) {
            return Err(TrainError::Run(format!(
                "`{changed}` differs from what this run was started with (see `{}`): resume with the same config, or \
                 choose another `run`",
                saved.display()
            )));
        }
    }
    Ok(())
}

/// The first key at or under `key` whose values differ.
fn difference(
    key: &str,
    before: Option<&toml::Value>,
    now: Option<&toml::Value>,
) -> Option<String> {
    if before == now {
        return None;
    }
    if let (Some(toml::Value::Table(before)), Some(toml::Value::Table(now))) = (before, now) {
        return before.keys().chain(now.keys()).find_map(|inner| {
            difference(&format!("{key}.{inner}"), before.get(inner), now.get(inner))
        });
    }
    Some(key.to_owned())
}
