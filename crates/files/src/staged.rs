//! Writing beside a place, and moving into it when everything is on the disk.

use std::collections::BTreeSet;
use std::fs::{File, TryLockError};
use std::io::{Error, ErrorKind, Result, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::place::{self, Names};
use crate::regular::open_to_write;

/// Paths that this process is writing, to be removed if it has to leave.
static UNDER_WAY: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

fn under_way() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    UNDER_WAY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes whatever this process is writing, before it leaves in the middle of it. Nothing is moved into place from
/// then on: the caller ends the process.
pub fn abandon() {
    let under_way = under_way();
    for path in &*under_way {
        // A leaving process can do no more about it; the next one clears it.
        let _ = place::remove(path);
    }
    std::mem::forget(under_way);
}

/// Replaces the file at `path` by `bytes`, durably, or leaves it as it was.
///
/// # Errors
/// The system's own: a full disk, a folder that can't be written.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut staged = StagedFile::create(path)?;
    staged.file().write_all(bytes)?;
    staged.commit()
}

/// A file that is written beside its place; dropped before [`Self::commit`], it is removed.
#[derive(Debug)]
pub struct StagedFile {
    file: File,
    beside: PathBuf,
    target: PathBuf,
}

impl StagedFile {
    /// Begins to write what will stand at `target`. While another process writes the same file, this one waits.
    ///
    /// # Errors
    /// The system's own.
    pub fn create(target: &Path) -> Result<Self> {
        let target = &place::named(target)?;
        let beside = place::staged(target)?;
        let file = loop {
            let file = open_to_write(&beside)?;
            file.lock()?;
            // The other one may have moved it into place while this one waited.
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

    /// The open file.
    pub fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Waits until it is on the disk, and moves it into its place, over what is there.
    ///
    /// # Errors
    /// The system's own.
    pub fn commit(self) -> Result<()> {
        self.finish(|from, to| std::fs::rename(from, to))?.sync()
    }

    /// The same, where nothing may be there.
    ///
    /// # Errors
    /// The system's own; something is there.
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

/// A folder that is filled beside its place; dropped before it is moved there, it is removed.
#[derive(Debug)]
pub struct StagedFolder {
    beside: PathBuf,
    target: PathBuf,
    /// Locked, so that a process that is alive is told from one that was killed.
    #[cfg(unix)]
    lock: File,
}

impl StagedFolder {
    /// Begins a folder that will stand at `target`. What a killed process left of the same folder is cleared.
    ///
    /// # Errors
    /// The system's own; another process is writing the same folder.
    pub fn create(target: &Path) -> Result<Self> {
        let target = &place::named(target)?;
        place::give_back(target)?;
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

    /// Locks the folder beside its place; `None` where another process has moved it away meanwhile.
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

    /// The folder to fill.
    pub fn path(&self) -> &Path {
        &self.beside
    }

    /// Waits until all of it is on the disk, and moves it into its place, where nothing or an empty folder may be.
    ///
    /// # Errors
    /// The system's own; a folder that is not empty, or a file, in its place.
    pub fn commit_new(self) -> Result<()> {
        self.finish(place::rename_new)?.sync_new(&self.target)
    }

    /// The same, in place of the folder that is there, which goes.
    ///
    /// # Errors
    /// The system's own.
    pub fn replace(self) -> Result<()> {
        self.finish(place::replace)?.sync()
    }

    /// Waits until the one file `name` in it is on the disk, and moves that to the target, over what is there: for a
    /// file whose writer takes a path and may replace the file that it finds there. The folder goes.
    ///
    /// # Errors
    /// The system's own.
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

/// Renames `from`, which is what was written `beside` or lies in it, to `to`, while nobody abandons what is under way.
/// Returns the names that `to` is one of now, which are still to be synced.
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

/// Removes what was not moved into place.
fn discard(beside: &Path, is_own: impl FnOnce() -> bool) {
    if under_way().remove(beside) && is_own() {
        // A full disk gets its space back; if even that fails, the first error is the one that is reported.
        let _ = place::remove(beside);
    }
}

/// Returns whether the open file or folder still has this name.
///
/// # Errors
/// The system's own, unless there is nothing of this name: who tries again until the name is right must not do so for
/// ever.
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

    /// A file appears whole or not at all, over the old one only where that is wanted, and leaves nothing beside it.
    #[test]
    fn files_are_whole() {
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
        // A longer one that a killed process left does not show through.
        std::fs::write(place::staged(&path).unwrap(), "half of something long").unwrap();
        write(&path, b"four").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"four");
        let by_path = StagedFolder::create(&path).unwrap();
        std::fs::write(by_path.path().join("any"), "five").unwrap();
        by_path.commit_file("any").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"five");
        assert_eq!(names(folder.path()), ["file"]);
    }

    /// Writers of one file take turns: every one of them stands whole at some time.
    #[test]
    fn writers_take_turns() {
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

    /// A folder appears whole, never over files that are there; what a killed process left is cleared, what a living
    /// one writes is not.
    #[test]
    fn folders_are_whole() {
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
