//! The output folder of a dataset: whether it may be overwritten, and its lock.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use polymath_base::{Lock, LockAttempt};

use crate::DataError;

/// Name of the lock file, locked while a dataset is written. A folder with this file and without `dataset.json` holds
/// an incomplete dataset.
pub(crate) const LOCK: &str = ".lock";
/// Names of files that mark a model or run folder. A dataset is not written there, since it would overwrite the
/// tokenizer.
const OF_OTHERS: [&str; 6] = [
    "adapter_config.json",
    "config.json",
    "model.safetensors",
    "model.safetensors.index.json",
    "run.toml",
    "state.json",
];

/// Output folder that this process may write a dataset to. Dropping it releases the lock.
pub struct TargetFolder {
    _lock: Lock,
}

impl TargetFolder {
    /// Creates the folder, or takes an existing one that is empty or holds a complete or incomplete dataset; then
    /// locks it.
    ///
    /// # Errors
    /// Fails if the folder holds anything else, or if another process has locked it.
    pub fn claim(folder: &Path) -> Result<Self, DataError> {
        refuse_stranger(folder)?;
        fs::create_dir_all(folder).map_err(DataError::file("make the folder", folder))?;
        let path = folder.join(LOCK);
        match polymath_base::lock(&path).map_err(DataError::file("lock", &path))? {
            LockAttempt::Locked(lock) => {
                // Files may have been added before the lock was taken.
                refuse_stranger(folder)?;
                clear_leftovers(folder)?;
                Ok(Self { _lock: lock })
            }
            LockAttempt::HeldBy(process) => {
                let process = process.map_or(String::new(), |id| format!(" (process {id})"));
                Err(DataError::content(
                    folder,
                    format!(
                        "another process{process} is writing a dataset to it: wait until it is done, or choose another \
                         folder"
                    ),
                ))
            }
        }
    }
}

/// Removes temporary files that killed processes left behind, also in the folders of domains.
fn clear_leftovers(folder: &Path) -> Result<(), DataError> {
    let clear =
        |path: &Path| polymath_base::clear_leftovers(path).map_err(DataError::file("clear", path));
    clear(folder)?;
    for entry in fs::read_dir(folder).map_err(DataError::file("read the folder", folder))? {
        let entry = entry.map_err(DataError::file("read the folder", folder))?;
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            clear(&entry.path())?;
        }
    }
    Ok(())
}

/// Fails if the folder holds files that are not of a dataset.
fn refuse_stranger(folder: &Path) -> Result<(), DataError> {
    let refuse = |message: String| Err(DataError::content(folder, message));
    if let Some(name) = OF_OTHERS.iter().find(|name| folder.join(name).exists()) {
        return refuse(format!(
            "holds `{name}`, which is of a model or a run: choose another folder for the dataset"
        ));
    }
    if ["dataset.json", LOCK]
        .iter()
        .any(|name| folder.join(name).exists())
    {
        return Ok(());
    }
    let mut entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(DataError::file("read the folder", folder)(error)),
    };
    match entries.next() {
        None => Ok(()),
        Some(_) => refuse(
            "holds files but no dataset: choose another folder for the dataset, or empty this one"
                .into(),
        ),
    }
}
