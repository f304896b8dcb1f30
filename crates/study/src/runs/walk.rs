//! Search of a folder for runs, and for models that record their base.

use std::path::{Path, PathBuf};

use crate::StudyError;

/// Maximum depth of the folders that are searched, below the first.
const DEEPEST: usize = 6;

/// Result of the search: folders with runs and folders with other models.
#[derive(Debug, Default)]
pub(super) struct Walk {
    /// Run folders.
    pub runs: Vec<PathBuf>,
    /// Folders of models that are not runs but have a lineage file or an adapter's config.
    pub models: Vec<PathBuf>,
}

/// Searches `folder` and the folders below it for runs and models. Skips symbolic links and hidden folders. Fails if
/// `folder` itself can't be read.
pub(super) fn walk(folder: &Path) -> Result<Walk, StudyError> {
    let mut found = Walk::default();
    if folder.is_dir() {
        std::fs::read_dir(folder).map_err(StudyError::file(folder))?;
        look(folder, 0, &mut found);
    }
    Ok(found)
}

fn look(folder: &Path, depth: usize, found: &mut Walk) {
    if folder.join("run.toml").is_file() {
        found.runs.push(folder.to_path_buf());
        return;
    }
    let is_model = ["base.toml", "adapter_config.json"].iter();
    if is_model
        .map(|name| folder.join(name))
        .any(|file| file.is_file())
    {
        found.models.push(folder.to_path_buf());
    }
    if depth == DEEPEST {
        return;
    }
    for (name, path) in folders(folder) {
        if !name.starts_with('.') {
            look(&path, depth + 1, found);
        }
    }
}

/// Returns the subfolders of a folder, sorted by name, without symbolic links.
pub(super) fn folders(folder: &Path) -> Vec<(String, PathBuf)> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let mut folders: Vec<_> = folders
        .map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            (name.clone(), relative(folder).join(name))
        })
        .collect();
    folders.sort();
    folders
}

/// Returns the path without a leading `.`: `runs/full` is shorter than `./runs/full`.
fn relative(folder: &Path) -> PathBuf {
    folder.strip_prefix(".").unwrap_or(folder).to_path_buf()
}

/// Returns the size in bytes of all files in a folder, without symbolic links.
pub(super) fn size(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => size(&entry.path()),
            Ok(kind) if kind.is_file() => entry.metadata().map_or(0, |file| file.len()),
            _ => 0,
        })
        .sum()
}
