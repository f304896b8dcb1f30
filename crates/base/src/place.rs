//! Temporary names next to a path, renaming onto the path, and removal of the leftovers of killed processes.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};

/// Suffix of the name of a file or folder that is being written.
const STAGED: &str = ".polymath-tmp";
/// Suffix of the name of a folder that is being replaced.
const REPLACED: &str = ".polymath-old";

/// Returns the folder that contains `path`.
pub(crate) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// Returns the same path with a last component that is a name: `.` is replaced by the path of the folder that it stands
/// for.
pub(crate) fn named(path: &Path) -> Result<PathBuf> {
    match path.file_name() {
        Some(_) => Ok(path.to_path_buf()),
        None => std::fs::canonicalize(path),
    }
}

fn beside(path: &Path, ending: &str) -> Result<PathBuf> {
    let Some(name) = path.file_name() else {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            "the path has no final name",
        ));
    };
    let mut hidden = OsStr::new(".").to_owned();
    hidden.push(name);
    hidden.push(ending);
    Ok(parent(path).join(hidden))
}

/// Returns the temporary path beside `path` at which the file or folder is written before it is renamed.
pub(crate) fn staged(path: &Path) -> Result<PathBuf> {
    beside(path, STAGED)
}

/// Returns true if a file or folder of this name is a leftover of a killed process of this program.
pub fn is_leftover(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    name.starts_with('.') && (name.ends_with(STAGED) || name.ends_with(REPLACED))
}

/// Clears the leftovers of killed processes in `folder`: removes incomplete files, and restores a folder that was
/// moved away for a replacement that did not happen. The caller must hold the lock that protects `folder`.
///
/// # Errors
/// Fails if the folder can't be read or written.
pub fn clear_leftovers(folder: &Path) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default();
        if !is_leftover(name) {
            continue;
        }
        let shown = name.to_string_lossy();
        match shown.strip_suffix(REPLACED) {
            Some(original) => restore_replaced(&folder.join(&original[1..]))?,
            None => remove(&path)?,
        }
    }
    Ok(())
}

/// Restores the folder that [`replace`] had moved away from `path` when its process was killed.
pub(crate) fn restore_replaced(path: &Path) -> Result<()> {
    let old = beside(path, REPLACED)?;
    if std::fs::symlink_metadata(&old).is_err() {
        return Ok(());
    }
    if std::fs::symlink_metadata(path).is_ok() {
        return remove(&old);
    }
    std::fs::rename(&old, path)
}

/// Removes a file, link or folder, if it exists.
///
/// # Errors
/// Fails if it can't be removed.
pub fn remove(path: &Path) -> Result<()> {
    let removed = match std::fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => std::fs::remove_dir_all(path),
        Ok(_) => std::fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Syncs a folder: waits until the names in it are on disk.
///
/// # Errors
/// Fails if the folder can't be opened or synced.
pub fn sync_folder(folder: &Path) -> Result<()> {
    Names::open(folder)?.sync()
}

/// Open handle of a folder, for syncing the names in it. It is opened before a rename, so that an error in opening it
/// occurs before anything was changed.
pub(crate) struct Names(Option<File>);

impl Names {
    /// Opens the folder `folder`, to sync the names in it later.
    ///
    /// # Errors
    /// Fails if the folder can't be opened.
    pub(crate) fn open(folder: &Path) -> Result<Self> {
        // Only Unix can open a folder as a file.
        cfg!(unix).then(|| File::open(folder)).transpose().map(Self)
    }

    /// Waits until the names in the folder are on disk.
    ///
    /// # Errors
    /// Fails if the folder can't be synced.
    pub(crate) fn sync(&self) -> Result<()> {
        self.0.as_ref().map_or(Ok(()), File::sync_all)
    }

    /// Waits until the names in the folder, including the new name `path`, are on disk. If that fails, removes `path`,
    /// so that the command can be run again.
    ///
    /// # Errors
    /// Fails if the folder can't be synced.
    pub(crate) fn sync_new(&self, path: &Path) -> Result<()> {
        self.sync().inspect_err(|_| {
            // The first error is the one to report.
            let _ = remove(path);
        })
    }
}

/// Waits until all files and names in a folder are on disk.
pub(crate) fn sync_all(folder: &Path) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_all(&entry.path())?;
        } else {
            File::open(entry.path())?.sync_all()?;
        }
    }
    sync_folder(folder)
}

/// Renames `from` to `to`. `to` must not exist, or may be an empty folder if `from` is a folder.
pub(crate) fn rename_new(from: &Path, to: &Path) -> Result<()> {
    if from.is_dir() {
        // The system fails if `to` is a file or a folder that is not empty.
        return std::fs::rename(from, to);
    }
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            Err(error) if is_unsupported(error) => {}
            other => return other.map_err(Error::from),
        }
    }
    match std::fs::symlink_metadata(to) {
        Ok(_) => Err(ErrorKind::AlreadyExists.into()),
        Err(_) => std::fs::rename(from, to),
    }
}

/// Moves the folder `from` to `to`, replacing any folder at `to`. On Linux, this is usually one atomic step.
pub(crate) fn replace(from: &Path, to: &Path) -> Result<()> {
    match std::fs::rename(from, to) {
        Err(error)
            if [
                ErrorKind::DirectoryNotEmpty,
                ErrorKind::AlreadyExists,
                ErrorKind::PermissionDenied, // Windows
            ]
            .contains(&error.kind())
                && to.is_dir() => {}
        other => return other,
    }
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        match renameat_with(CWD, from, CWD, to, RenameFlags::EXCHANGE) {
            Ok(()) => return remove(from),
            Err(error) if is_unsupported(error) => {}
            Err(error) => return Err(error.into()),
        }
    }
    replace_by_two_renames(from, to)
}

/// Replaces a folder like [`replace`], on systems that can't exchange two folders in one step. For an instant, `to`
/// does not exist; [`restore_replaced`] repairs that after a crash.
fn replace_by_two_renames(from: &Path, to: &Path) -> Result<()> {
    let old = beside(to, REPLACED)?;
    remove(&old)?;
    std::fs::rename(to, &old)?;
    std::fs::rename(from, to).inspect_err(|_| {
        // The first error is the one to report.
        let _ = std::fs::rename(&old, to);
    })?;
    remove(&old)
}

/// Returns true if the file system does not support the flags of `renameat2`.
#[cfg(target_os = "linux")]
fn is_unsupported(error: rustix::io::Errno) -> bool {
    use rustix::io::Errno;
    [Errno::INVAL, Errno::NOSYS, Errno::NOTSUP].contains(&error)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks both methods of replacing a folder, and that a folder is restored if its replacement did not happen.
    #[test]
    fn folders_are_replaced() {
        let root = tempfile::tempdir().unwrap();
        let to = root.path().join("model");
        for (number, way) in [replace, replace_by_two_renames].into_iter().enumerate() {
            let from = root.path().join("new");
            std::fs::create_dir_all(&to).unwrap();
            std::fs::write(to.join("old"), "old").unwrap();
            std::fs::create_dir(&from).unwrap();
            std::fs::write(from.join("new"), number.to_string()).unwrap();
            way(&from, &to).unwrap();
            assert_eq!(
                std::fs::read_to_string(to.join("new")).unwrap(),
                number.to_string()
            );
            assert!(!to.join("old").exists() && !from.exists());
        }
        let old = beside(&to, REPLACED).unwrap();
        std::fs::rename(&to, &old).unwrap();
        clear_leftovers(root.path()).unwrap();
        assert!(to.join("new").exists() && !old.exists());
        std::fs::create_dir(&old).unwrap();
        clear_leftovers(root.path()).unwrap();
        assert!(to.join("new").exists() && !old.exists());
    }

    /// Checks that only names with the program's own suffix count as leftovers.
    #[test]
    fn other_programs_files_are_left_alone() {
        let root = tempfile::tempdir().unwrap();
        for name in [
            ".tmp-notes",
            "run.tmp",
            "thesis.polymath-tmp",
            ".x.polymath-tmp",
        ] {
            std::fs::write(root.path().join(name), "text").unwrap();
        }
        clear_leftovers(root.path()).unwrap();
        let left = std::fs::read_dir(root.path()).unwrap().count();
        assert_eq!(left, 3);
        assert!(!root.path().join(".x.polymath-tmp").exists());
    }
}
