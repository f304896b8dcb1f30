//! Exclusive use of a run folder: its lock, and the removal of unfinished files.

use std::path::Path;

use polymath_base::{Lock, LockAttempt};

use crate::saved::CONFIG;
use crate::{TrainError, checkpoint};

/// Name of the lock file in a run folder.
pub(crate) const LOCK: &str = ".lock";
/// Names of unfinished files that killed processes of earlier versions left. This version recognizes its own by their
/// names ([`polymath_base::is_leftover`]).
const OLD_LEFTOVERS: [&str; 7] = [
    "run.tmp",
    "metrics.tmp",
    "teacher.tmp",
    ".tmp-latest",
    ".tmp-best",
    ".tmp-closest",
    ".tmp-mixed",
];
/// Prefix of the names of unfinished checkpoints that earlier versions left.
const OLD_LEFTOVER: &str = ".tmp-";

/// Fails if the folder has other content. The error tells if another process is creating a run in it.
pub(super) fn refuse_foreign(path: &Path) -> Result<(), TrainError> {
    if path.join(CONFIG).exists() || is_unused(path)? {
        return Ok(());
    }
    // Another process may be creating a run here.
    let held = polymath_base::holder(&path.join(LOCK)).ok().flatten();
    if let Some(process) = held {
        return Err(in_use(path, process));
    }
    Err(TrainError::Run(format!(
        "`{}` holds files but is not a run folder: choose another `run`",
        path.display()
    )))
}

/// Returns true if a folder is missing, empty, or has only leftovers of an interrupted first start.
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

/// Locks the run folder for this process. Fails if another process holds the lock.
pub(crate) fn lock(path: &Path) -> Result<Lock, TrainError> {
    let file = path.join(LOCK);
    match polymath_base::lock(&file).map_err(TrainError::file("lock", &file))? {
        LockAttempt::Locked(lock) => Ok(lock),
        LockAttempt::HeldBy(process) => Err(in_use(path, process)),
    }
}

fn in_use(path: &Path, process: Option<u32>) -> TrainError {
    let process = process.map_or(String::new(), |id| format!(" (process {id})"));
    TrainError::Run(format!(
        "the run `{}` is in use by another process{process}: wait for it, or choose another `run`",
        path.display()
    ))
}

/// Returns true if a file of this name is an unfinished one that a killed process left.
fn is_leftover(name: &std::ffi::OsStr) -> bool {
    let shown = name.to_string_lossy();
    let old_checkpoint = shown
        .strip_prefix(OLD_LEFTOVER)
        .is_some_and(|name| checkpoint::step_of(name).is_some());
    polymath_base::is_leftover(name) || OLD_LEFTOVERS.contains(&&*shown) || old_checkpoint
}

/// Removes the unfinished files of a killed process, and restores a checkpoint that was about to be replaced.
pub(super) fn clear_leftovers(run: &Path) -> Result<(), TrainError> {
    polymath_base::clear_leftovers(run).map_err(TrainError::file("clear", run))?;
    for entry in std::fs::read_dir(run).map_err(TrainError::file("read", run))? {
        let path = entry.map_err(TrainError::file("read", run))?.path();
        if is_leftover(path.file_name().unwrap_or_default()) {
            polymath_base::remove(&path).map_err(TrainError::file("remove", &path))?;
        }
    }
    Ok(())
}
