//! Files and folders that are written under a temporary name and renamed when everything is on disk.

use std::collections::BTreeSet;
use std::fs::{File, TryLockError};
use std::io::{Error, ErrorKind, Result, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::place::{self, Names};
use crate::regular::open_to_write;

/// Temporary paths that this process is writing; they are removed if it has to exit early.
static UNDER_WAY: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

fn under_way() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    UNDER_WAY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes all temporary files and folders of this process, before it exits early. From then on, nothing is renamed
/// into place: the caller must end the process.
pub fn abandon() {
    let under_way = under_way();
    for path in &*under_way {
        // The process is exiting; a later one removes what is left.
        let _ = place::remove(path);
    }
    std::mem::forget(under_way);
}

/// Writes `bytes` to the file at `path`, durably and atomically: after a failure or a crash, the file has either its
/// old or its new content.
///
/// # Errors
/// Fails if the folder can't be written or the disk is full.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut staged = StagedFile::create(path)?;
    staged.file().write_all(bytes)?;
    staged.commit()
}

/// A file that is written under a temporary name. If it is dropped before [`Self::commit`], it is removed.
#[derive(Debug)]
pub struct StagedFile {
    file: File,
    beside: PathBuf,
    target: PathBuf,
}

impl StagedFile {
    /// Starts writing the file that will be at `target`. Waits while another process writes the same file.
    ///
    /// # Errors
    /// Fails if the temporary file can't be created.
    pub fn create(target: &Path) -> Result<Self> {
        let target = &place::named(target)?;
        let beside = place::staged(target)?;
        let file = loop {
            let file = open_to_write(&beside)?;
            file.lock()?;
            // The other process may have renamed the file while this one waited.
            if is_at(&file, &beside)? {
                break file;
            }
        };
        file.set_len(0)?;
        under_way().insert(beside.clone());
        Ok(Self {
            file,
            beside,
            target: target.to_path_buf(),
        })
    }

    /// Returns the open file, to be written.
    pub fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Waits until the content is on disk, then renames the file to the target, replacing any file there.
    ///
    /// # Errors
    /// Fails if the content can't be synced or the file can't be renamed.
    pub fn commit(self) -> Result<()> {
        self.finish(|from, to| std::fs::rename(from, to))?.sync()
    }

    /// Commits like [`Self::commit`], but does not replace an existing file.
    ///
    /// # Errors
    /// Fails as [`Self::commit`] does, or if the target exists.
    pub fn commit_new(self) -> Result<()> {
        self.finish(place::rename_new)?.sync_new(&self.target)
    }

    fn finish(&self, rename: impl FnOnce(&Path, &Path) -> Result<()>) -> Result<Names> {
        self.file.sync_all()?;
        into_place(&self.beside, &self.beside, &self.target, rename)
    }
}

impl Drop for StagedFile {
    fn drop(&mut self) {
        discard(&self.beside, || {
            is_at(&self.file, &self.beside).unwrap_or(false)
        });
    }
}

/// A folder that is filled under a temporary name. If it is dropped before it is committed, it is removed.
#[derive(Debug)]
pub struct StagedFolder {
    beside: PathBuf,
    target: PathBuf,
    /// Lock on the temporary folder, which shows other processes that this process is alive.
    #[cfg(unix)]
    lock: File,
}

impl StagedFolder {
    /// Starts a folder that will be at `target`. Clears the leftovers of killed processes for the same folder.
    ///
    /// # Errors
    /// Fails if the temporary folder can't be created, or if another process is writing the same folder.
    pub fn create(target: &Path) -> Result<Self> {
        let target = &place::named(target)?;
        place::restore_replaced(target)?;
        let beside = place::staged(target)?;
        let staged = loop {
            match std::fs::create_dir(&beside) {
                Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
            if let Some(staged) = Self::take(&beside, target)? {
                break staged;
            }
        };
        for entry in std::fs::read_dir(&beside)? {
            place::remove(&entry?.path())?;
        }
        under_way().insert(beside);
        Ok(staged)
    }

    /// Locks the temporary folder. Returns `None` if another process has moved or removed it meanwhile.
    #[cfg(unix)]
    fn take(beside: &Path, target: &Path) -> Result<Option<Self>> {
        let lock = match File::open(beside) {
            Ok(lock) => lock,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::new(
                    ErrorKind::ResourceBusy,
                    "another process is writing it",
                ));
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
        Ok(is_at(&lock, beside)?.then(|| Self {
            beside: beside.to_path_buf(),
            target: target.to_path_buf(),
            lock,
        }))
    }

    #[cfg(not(unix))]
    fn take(beside: &Path, target: &Path) -> Result<Option<Self>> {
        Ok(Some(Self {
            beside: beside.to_path_buf(),
            target: target.to_path_buf(),
        }))
    }

    /// Returns the path of the temporary folder, to be filled.
    pub fn path(&self) -> &Path {
        &self.beside
    }

    /// Waits until everything in the folder is on disk, then renames it to the target, which must be missing or an
    /// empty folder.
    ///
    /// # Errors
    /// Fails if the content can't be synced, or if the target is a file or a folder that is not empty.
    pub fn commit_new(self) -> Result<()> {
        self.finish(place::rename_new)?.sync_new(&self.target)
    }

    /// Commits like [`Self::commit_new`], but replaces the folder at the target, which is removed.
    ///
    /// # Errors
    /// Fails if the content can't be synced, or if the target can't be replaced.
    pub fn replace(self) -> Result<()> {
        self.finish(place::replace)?.sync()
    }

    /// Waits until the file `name` in the folder is on disk, then renames it to the target, replacing any file there.
    /// Removes the folder. This is for writers that take a path and may replace the file at that path.
    ///
    /// # Errors
    /// Fails if the content can't be synced or the file can't be renamed.
    pub fn commit_file(self, name: &str) -> Result<()> {
        let path = self.beside.join(name);
        File::open(&path)?.sync_all()?;
        into_place(&self.beside, &path, &self.target, |from, to| {
            std::fs::rename(from, to)
        })?
        .sync()?;
        place::remove(&self.beside)
    }

    fn finish(&self, rename: impl FnOnce(&Path, &Path) -> Result<()>) -> Result<Names> {
        place::sync_all(&self.beside)?;
        into_place(&self.beside, &self.beside, &self.target, rename)
    }

    #[cfg(unix)]
    fn is_own(&self) -> bool {
        is_at(&self.lock, &self.beside).unwrap_or(false)
    }

    #[cfg(not(unix))]
    fn is_own(&self) -> bool {
        true
    }
}

impl Drop for StagedFolder {
    fn drop(&mut self) {
        discard(&self.beside, || self.is_own());
    }
}

/// Renames the temporary path `from`, which is `beside` or lies in it, to `to`. Holds the lock that [`abandon`] takes,
/// so that nothing is renamed after it. Returns the handle of the target's folder, which the caller must sync.
fn into_place(
    beside: &Path,
    from: &Path,
    to: &Path,
    rename: impl FnOnce(&Path, &Path) -> Result<()>,
) -> Result<Names> {
    let names = Names::open(place::parent(to))?;
    let mut under_way = under_way();
    rename(from, to)?;
    under_way.remove(beside);
    Ok(names)
}

/// Removes the temporary path, unless it was renamed or belongs to another process.
fn discard(beside: &Path, is_own: impl FnOnce() -> bool) {
    if under_way().remove(beside) && is_own() {
        // Removing frees the space on a full disk. If this fails too, the first error is the one that is reported.
        let _ = place::remove(beside);
    }
}

/// Returns true if the open file or folder is still at this path.
///
/// # Errors
/// Fails if the path can't be looked up, unless nothing is there. A caller that retries until the path matches must
/// not loop forever.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let open = file.metadata()?;
    match std::fs::symlink_metadata(path) {
        Ok(named) => Ok((open.dev(), open.ino()) == (named.dev(), named.ino())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(not(unix))]
fn is_at(_file: &File, path: &Path) -> Result<bool> {
    path.try_exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// Checks that a file appears completely or not at all, that it replaces an old one only if requested, and that
    /// no temporary file remains.
    #[test]
    fn a_file_appears_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        write(&path, b"one").unwrap();
        let mut dropped = StagedFile::create(&path).unwrap();
        dropped.file().write_all(b"two").unwrap();
        drop(dropped);
        assert_eq!(std::fs::read(&path).unwrap(), b"one");
        let mut staged = StagedFile::create(&path).unwrap();
        staged.file().write_all(b"three").unwrap();
        assert!(staged.commit_new().is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"one");
        assert_eq!(names(folder.path()), ["file"]);
        // A longer leftover of a killed process does not show at the end of the new content.
        std::fs::write(place::staged(&path).unwrap(), "half of something long").unwrap();
        write(&path, b"four").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"four");
        let by_path = StagedFolder::create(&path).unwrap();
        std::fs::write(by_path.path().join("any"), "five").unwrap();
        by_path.commit_file("any").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"five");
        assert_eq!(names(folder.path()), ["file"]);
    }

    /// Checks that concurrent writers of one file take turns, so that the file always has the content of one writer.
    #[test]
    fn concurrent_writers_take_turns() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::thread::scope(|scope| {
            for number in 0..8u8 {
                let path = &path;
                scope.spawn(move || write(path, &vec![number; 100_000]).unwrap());
            }
        });
        let found = std::fs::read(&path).unwrap();
        assert_eq!(found.len(), 100_000);
        assert!(found.iter().all(|byte| *byte == found[0]));
    }

    /// Checks that a folder appears completely and never replaces existing files, that leftovers of a killed process
    /// are removed, and that a live process's temporary folder is not.
    #[test]
    fn a_folder_appears_whole_or_not_at_all() {
        let root = tempfile::tempdir().unwrap();
        let target = root.path().join("model");
        let beside = place::staged(&target).unwrap();
        std::fs::create_dir(&beside).unwrap();
        std::fs::write(beside.join("half"), "half").unwrap();
        let staged = StagedFolder::create(&target).unwrap();
        assert!(names(staged.path()).is_empty());
        if cfg!(unix) {
            let busy = StagedFolder::create(&target).unwrap_err();
            assert!(busy.to_string().contains("another process"), "{busy}");
        }
        std::fs::write(staged.path().join("file"), "1").unwrap();
        staged.commit_new().unwrap();
        let second = StagedFolder::create(&target).unwrap();
        std::fs::write(second.path().join("other"), "2").unwrap();
        assert!(second.commit_new().is_err());
        assert_eq!(names(&target), ["file"]);
        let third = StagedFolder::create(&target).unwrap();
        std::fs::write(third.path().join("other"), "3").unwrap();
        third.replace().unwrap();
        assert_eq!(names(&target), ["other"]);
        drop(StagedFolder::create(&target).unwrap());
        assert_eq!(names(root.path()), ["model"]);
    }
}
