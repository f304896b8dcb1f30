//! Inspection of a run folder without changing it: its checkpoints, their state, and the process that uses it.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::checkpoint::{RunState, read_state, verify};
use crate::checkpoints::steps;
use crate::lengthen::{is_ended, last_extension};
use crate::run_folder::{LOCK, discard, lock};
use crate::saved::training_of_run;
use crate::{TrainError, Training};

/// State of a run folder: its checkpoints, its configuration, and the process that uses it.
#[derive(Debug, Clone)]
pub struct Inspection {
    /// Checkpoints of the run, the oldest first.
    pub checkpoints: Vec<StoredCheckpoint>,
    /// ID of the process that now trains in the folder: `None` if no process does, `Some(None)` if its ID is not known.
    pub process: Option<Option<u32>>,
    /// The `[training]` table of the run's `run.toml`, if it can be read.
    pub training: Option<Training>,
}

/// Checkpoint on disk, complete or broken.
#[derive(Debug, Clone)]
pub struct StoredCheckpoint {
    /// Step number in the folder's name.
    pub step: u64,
    /// Folder of the checkpoint.
    pub path: PathBuf,
    /// State of the run at the checkpoint, or the reason why the checkpoint is broken.
    pub state: Result<RunState, String>,
}

/// Thoroughness with which a checkpoint's files are checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// Checks the manifest, and the presence and length of every file.
    Lengths,
    /// Checks the SHA-256 of every file too.
    Digests,
}

impl Inspection {
    /// Inspects the run folder `run`.
    ///
    /// # Errors
    /// Fails if the folder can't be read, or if a checkpoint is of a later version.
    pub fn of(run: &Path, check: Check) -> Result<Self, TrainError> {
        let mut checkpoints = Vec::new();
        for (step, path) in steps(run)? {
            let found = match check {
                Check::Lengths => read_lengths(&path),
                Check::Digests => verify(&path),
            };
            let state = match found {
                Ok(state) => Ok(state),
                Err(TrainError::Broken { message, .. }) => Err(message),
                Err(other) => return Err(other),
            };
            checkpoints.push(StoredCheckpoint { step, path, state });
        }
        Ok(Self {
            checkpoints,
            process: polymath_base::holder(&run.join(LOCK)).ok().flatten(),
            training: training_of_run(run),
        })
    }

    /// Returns the newest complete checkpoint, from which the run would be resumed.
    pub fn newest(&self) -> Option<&StoredCheckpoint> {
        let mut newest_first = self.checkpoints.iter().rev();
        newest_first.find(|checkpoint| checkpoint.state.is_ok())
    }

    /// Returns the state of the run at its last step, or `None` if the run is not finished.
    pub fn finished(&self) -> Option<&RunState> {
        let state = self.newest()?.state.as_ref().ok()?;
        let extended = self.training.as_ref().and_then(last_extension);
        is_ended(state, extended).then_some(state)
    }
}

/// Names of the links that a run folder may have: `best`, `latest` and so on.
const LINKS: [&str; 3] = ["best", "latest", "closest"];

/// Returns the names of the checkpoints to which the links of the run folder `run` point.
pub fn linked(run: &Path) -> Vec<String> {
    let target = |name: &&str| {
        let link = run.join(name);
        let target = match std::fs::read_link(&link) {
            Ok(target) => target,
            // A text file, where there are no links.
            Err(_) => polymath_base::read_to_string(&link).ok()?.trim().into(),
        };
        Some(target.file_name()?.to_string_lossy().into_owned())
    };
    LINKS.iter().filter_map(target).collect()
}

/// Removes the checkpoint folders `folders` from the run folder `run`, unless another process trains there.
///
/// # Errors
/// Fails if the run is in use, if a link points to a folder by now, or if a folder can't be removed.
pub fn remove_checkpoints(run: &Path, folders: &[PathBuf]) -> Result<(), TrainError> {
    let _lock = lock(run)?;
    let linked = linked(run);
    for folder in folders {
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        if linked.iter().any(|linked| *linked == name) {
            return Err(TrainError::Run(format!(
                "`{}` is not removed: a link of the run points to it by now",
                folder.display()
            )));
        }
        discard(run, folder)?;
    }
    Ok(())
}

/// Reads the state of a checkpoint, and checks that all its files exist and have the right length.
fn read_lengths(folder: &Path) -> Result<RunState, TrainError> {
    let broken = |message: String| TrainError::Broken {
        path: folder.to_path_buf(),
        message,
    };
    let state = read_state(folder)?;
    for name in state.sha256.keys() {
        let path = folder.join(name);
        let is_there = path.is_file();
        if !is_there {
            return Err(broken(format!("`{name}` is missing")));
        }
        if name.ends_with(".safetensors") {
            let (found, expected) =
                lengths(&path).map_err(|error| broken(format!("`{name}`: {error}")))?;
            if found != expected {
                return Err(broken(format!(
                    "`{name}` has {found} bytes, and {expected} by its header: it was cut off or altered"
                )));
            }
        }
    }
    Ok(state)
}

/// Byte range of a tensor in a safetensors file.
#[derive(Deserialize)]
struct Extent {
    #[serde(default)]
    data_offsets: [u64; 2],
}

/// Returns the length of a safetensors file in bytes, and the length that it should have by its header.
fn lengths(path: &Path) -> std::io::Result<(u64, u64)> {
    /// Maximum length of a header that is read, in bytes.
    const LONGEST: u64 = 100_000_000;
    let mut file = polymath_base::open(path)?;
    let found = file.metadata()?.len();
    let mut length = [0; 8];
    file.read_exact(&mut length)?;
    let length = u64::from_le_bytes(length);
    if length > LONGEST {
        return Ok((found, length.saturating_add(8)));
    }
    let mut header = vec![0; length as usize];
    file.read_exact(&mut header)?;
    let tensors: BTreeMap<String, Extent> = serde_json::from_slice(&header)?;
    let end = tensors.values().map(|tensor| tensor.data_offsets[1]).max();
    Ok((
        found,
        length.saturating_add(8).saturating_add(end.unwrap_or(0)),
    ))
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    /// Checks that every link of a run protects its checkpoint, also that of a run whose limits nothing kept.
    #[test]
    fn checkpoints_behind_links_are_not_removed() {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path();
        for (link, step) in [
            ("best", "step-1"),
            ("latest", "step-2"),
            ("closest", "step-3"),
        ] {
            std::fs::create_dir(run.join(step)).unwrap();
            std::os::unix::fs::symlink(step, run.join(link)).unwrap();
        }
        std::fs::create_dir(run.join("step-4")).unwrap();
        assert_eq!(linked(run), ["step-1", "step-2", "step-3"]);
        for step in ["step-1", "step-2", "step-3"] {
            remove_checkpoints(run, &[run.join(step)]).unwrap_err();
            assert!(run.join(step).exists());
        }
        // Nor is any checkpoint of a run that is in use.
        let lock = std::fs::File::create(run.join(".lock")).unwrap();
        lock.lock().unwrap();
        let error = remove_checkpoints(run, &[run.join("step-4")]).unwrap_err();
        assert!(error.to_string().contains("in use"), "{error}");
        assert!(run.join("step-4").exists());
        drop(lock);
        remove_checkpoints(run, &[run.join("step-4")]).unwrap();
        assert!(!run.join("step-4").exists());
    }
}
