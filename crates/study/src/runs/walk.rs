//! Search of a folder for runs, and for models that record their base.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::StudyError;

/// Maximum depth of the folders that are searched, below the first.
const DEEPEST: usize = 6;
/// Maximum depth of the folders that are searched below one that a link leads to: it may lead to a whole disk.
const BELOW_LINK: usize = 2;

/// Result of the search: folders with runs and folders with other models.
#[derive(Debug, Default)]
pub(super) struct Walk {
    /// Run folders.
    pub runs: Vec<PathBuf>,
    /// Folders of models that are not runs but have a lineage file or an adapter's config.
    pub models: Vec<PathBuf>,
}

/// Treatment of symbolic links to folders in the search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Links {
    /// Searches the folder that a link leads to, down to [`BELOW_LINK`] levels.
    Follow,
    /// Skips links.
    Skip,
}

/// Searches `folder` and the folders below it for runs and models, also within runs. Skips hidden folders and the
/// checkpoints of runs. Fails if `folder` itself can't be read.
pub(super) fn walk(folder: &Path, links: Links) -> Result<Walk, StudyError> {
    let mut search = Search {
        links,
        seen: BTreeSet::new(),
        found: Walk::default(),
    };
    if folder.is_dir() {
        std::fs::read_dir(folder).map_err(StudyError::file(folder))?;
        search.look(folder, 0);
    }
    Ok(search.found)
}

/// Search in progress.
struct Search {
    links: Links,
    /// Folders that were searched, with symbolic links resolved.
    seen: BTreeSet<PathBuf>,
    found: Walk,
}

impl Search {
    fn look(&mut self, folder: &Path, depth: usize) {
        let place = folder.canonicalize();
        if place.is_ok_and(|place| !self.seen.insert(place)) {
            return;
        }
        let is_run = folder.join("run.toml").is_file();
        let mut marks = ["base.toml", "adapter_config.json"].iter();
        if is_run {
            self.found.runs.push(folder.to_path_buf());
        } else if marks.any(|name| folder.join(name).is_file()) {
            self.found.models.push(folder.to_path_buf());
        }
        if depth >= DEEPEST {
            return;
        }
        // A run can lie in the folder of another.
        let is_own = |name: &str| is_run && (name.contains("step-") || name == "mixed");
        for (name, path) in folders(folder) {
            if !name.starts_with('.') && !is_own(&name) {
                self.look(&path, depth + 1);
            }
        }
        // The links of a run lead to its own checkpoints.
        if self.links == Links::Follow && !is_run {
            for path in linked_folders(folder) {
                self.look(&path, (depth + 1).max(DEEPEST - BELOW_LINK));
            }
        }
    }
}

/// Returns the symbolic links in a folder that lead to folders, without hidden ones.
fn linked_folders(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let links = entries.filter(|entry| {
        let is_hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        !is_hidden && entry.file_type().is_ok_and(|kind| kind.is_symlink())
    });
    let mut paths: Vec<PathBuf> = links
        .map(|entry| relative(folder).join(entry.file_name()))
        .filter(|path| path.is_dir())
        .collect();
    paths.sort();
    paths
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

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    /// Checks that runs and models within runs are found, that links are followed only on request and not in circles,
    /// and that the checkpoints of a run are skipped.
    #[test]
    fn runs_within_runs_and_behind_links_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().join("here");
        let write = |name: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        };
        write("here/base/run.toml");
        write("here/base/tuned/run.toml");
        write("here/base/merged/base.toml");
        write("here/base/step-000001/base.toml");
        write("elsewhere/far/run.toml");
        write("elsewhere/a/b/c/run.toml");
        let link = |to: &Path, name: &str| std::os::unix::fs::symlink(to, at.join(name)).unwrap();
        link(&folder.path().join("elsewhere"), "linked");
        link(&at, "round");
        link(Path::new("nowhere"), "dangling");
        link(&at.join("base/step-000001"), "base/best");
        let names = |paths: &[PathBuf]| -> Vec<String> {
            let names = paths.iter().map(|path| path.strip_prefix(&at).unwrap());
            names.map(|path| path.display().to_string()).collect()
        };
        let found = walk(&at, Links::Skip).unwrap();
        assert_eq!(names(&found.runs), ["base", "base/tuned"]);
        assert_eq!(names(&found.models), ["base/merged"]);
        let found = walk(&at, Links::Follow).unwrap();
        assert_eq!(names(&found.runs), ["base", "base/tuned", "linked/far"]);
        assert_eq!(names(&found.models), ["base/merged"]);
    }
}
