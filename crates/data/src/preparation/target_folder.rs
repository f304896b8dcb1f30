//! The folder that a dataset is written to: whose it is, and which process may write.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use polymath_base::{Attempt, Lock};

use crate::DataError;

/// Held while a dataset is written. A folder that has it and no `dataset.json` holds an unfinished dataset.
pub(crate) const LOCK: &str = ".lock";
/// Tell a model's folder or a run's, where a dataset would replace the tokenizer.
const OF_OTHERS: [&str; 6] = [
    "adapter_config.json",
    "config.json",
    "model.safetensors",
    "model.safetensors.index.json",
    "run.toml",
    "state.json",
];

/// A folder that this process may write a dataset to, until it is dropped.
pub struct TargetFolder {
    _lock: Lock,
}

impl TargetFolder {
    /// Makes the folder, or takes one that is empty or holds a dataset, finished or not, and locks it.
    ///
    /// # Errors
    /// A folder of something else; another process that writes to it.
    pub fn claim(folder: &Path) -> Result<Self, DataError> {
        refuse_stranger(folder)?;
        fs::create_dir_all(folder).map_err(DataError::file("make the folder", folder))?;
        let path = folder.join(LOCK);
        match polymath_base::lock(&path).map_err(DataError::file("lock", &path))? {
            Attempt::Locked(lock) => {
                // Something may have come there before the lock.
                refuse_stranger(folder)?;
                clear_leftovers(folder)?;
                Ok(Self { _lock: lock })
            }
            Attempt::HeldBy(process) => {
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

/// Clears what killed processes left half-written, also in the folders of domains.
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

/// Refuses a folder whose files are no dataset's.
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
