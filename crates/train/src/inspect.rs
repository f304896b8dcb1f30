//! A run folder as it is found: its checkpoints, their state, and who uses it. Nothing is changed.

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

/// Content of a run folder.
#[derive(Debug, Clone)]
pub struct Inspection {
    /// Checkpoints, the oldest first.
    pub checkpoints: Vec<StoredCheckpoint>,
    /// Process that trains in the folder now; its id, if known.
    pub process: Option<Option<u32>>,
    /// The `[training]` table of its `run.toml`, if that can be read.
    pub training: Option<Training>,
}

/// A checkpoint on disk, whole or not.
#[derive(Debug, Clone)]
pub struct StoredCheckpoint {
    /// Number in its name.
    pub step: u64,
    /// Folder of the checkpoint.
    pub path: PathBuf,
    /// Its state, or the reason why it is broken.
    pub state: Result<RunState, String>,
}

/// Amount of checking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// Manifest, presence and length of every file.
    Lengths,
    /// SHA-256 of every file.
    Digests,
}

impl Inspection {
    /// Reads the folder `run`.
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

    /// Returns the newest checkpoint that is whole, which a resumed run begins with.
    pub fn newest(&self) -> Option<&StoredCheckpoint> {
        let mut newest_first = self.checkpoints.iter().rev();
        newest_first.find(|checkpoint| checkpoint.state.is_ok())
    }

    /// Returns the state of a finished run.
    pub fn finished(&self) -> Option<&RunState> {
        let state = self.newest()?.state.as_ref().ok()?;
        let extended = self.training.as_ref().and_then(last_extension);
        is_ended(state, extended).then_some(state)
    }
}

/// Names of the links of a run folder.
const LINKS: [&str; 3] = ["best", "latest", "closest"];

/// Returns the names of what the links of the run folder `run` point to.
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

/// Removes folders of the run folder `run`, such as old checkpoints, while no other process trains there.
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

/// Reads the state of a checkpoint whose files are all there and as long as they have to be.
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

/// Place of a tensor in a safetensors file.
#[derive(Deserialize)]
struct Extent {
    #[serde(default)]
    data_offsets: [u64; 2],
}

/// Returns the length of a safetensors file, and the one that its header implies.
fn lengths(path: &Path) -> std::io::Result<(u64, u64)> {
    /// Longest header that is read.
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
