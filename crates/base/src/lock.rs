//! File lock that at most one process holds at a time. The lock file contains the ID of that process, so that messages
//! of other processes can name it.

use std::fs::{File, TryLockError};
use std::io::{Read, Result, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Duration;

use crate::regular::{open_to_write, refuse_irregular};

/// A lock file held by this process. The system releases the lock when the process ends in any way.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // The ID is removed, so that a reader that does not check the lock does not find a process that has ended.
        let _ = self.file.set_len(0);
        // A child process that another thread is starting has a copy of this file until it runs its program. Closing
        // this one alone would leave the run locked for that time.
        let _ = self.file.unlock();
    }
}

/// Result of trying to take a lock file with [`lock`].
#[derive(Debug)]
pub enum LockAttempt {
    /// This process now holds the lock.
    Locked(Lock),
    /// Another process holds the lock. Holds the ID of that process, if known.
    HeldBy(Option<u32>),
}

/// Number of times that [`lock`] tries to take a lock that names no process: [`holder`] holds it for an instant to see
/// whether it is free.
const TRIES: u32 = 20;
/// Time between two such tries.
const PAUSE: Duration = Duration::from_millis(10);

/// Tries to take the lock file `path` and creates it if it is missing. Does not follow a link.
///
/// # Errors
/// Fails if the file can't be written, or if `path` is a link or not a regular file.
pub fn lock(path: &Path) -> Result<LockAttempt> {
    let mut file = open_to_write(path)?;
    refuse_irregular(&file.metadata()?)?;
    let mut tries = 1;
    loop {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::WouldBlock) => {
                let process = process_in(&mut file);
                if process.is_some() || tries == TRIES {
                    return Ok(LockAttempt::HeldBy(process));
                }
            }
            Err(TryLockError::Error(source)) => return Err(source),
        }
        tries += 1;
        std::thread::sleep(PAUSE);
    }
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0))?;
    writeln!(file, "{}", std::process::id())?;
    Ok(LockAttempt::Locked(Lock { file }))
}

/// Returns the ID of the process that holds the lock file `path`: `None` if no process does, `Some(None)` if its ID
/// is not known. Writes nothing.
///
/// # Errors
/// Fails if the file can't be read, or if `path` is a link or not a regular file.
pub fn holder(path: &Path) -> Result<Option<Option<u32>>> {
    let mut file = crate::regular::open(path)?;
    match file.try_lock() {
        Ok(()) => file.unlock().map(|()| None),
        Err(TryLockError::WouldBlock) => Ok(Some(process_in(&mut file))),
        Err(TryLockError::Error(source)) => Err(source),
    }
}

/// Returns the ID of the process that a lock file names. The ID is missing for an instant after the lock is taken.
fn process_in(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.seek(SeekFrom::Start(0)).ok()?;
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that a second process learns which process holds the lock, that a dropped lock can be taken again, and
    /// that a link is not followed.
    #[test]
    fn a_second_process_is_told_who_holds_the_lock() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".lock");
        let held = lock(&path).unwrap();
        assert!(matches!(held, LockAttempt::Locked(_)));
        let own = std::process::id();
        assert!(matches!(lock(&path).unwrap(), LockAttempt::HeldBy(Some(id)) if id == own));
        assert_eq!(holder(&path).unwrap(), Some(Some(own)));
        drop(held);
        assert_eq!(holder(&path).unwrap(), None);
        assert!(matches!(lock(&path).unwrap(), LockAttempt::Locked(_)));
        #[cfg(unix)]
        {
            let precious = folder.path().join("precious");
            std::fs::write(&precious, "text").unwrap();
            let link = folder.path().join("link");
            std::os::unix::fs::symlink(&precious, &link).unwrap();
            assert!(lock(&link).is_err());
            assert_eq!(std::fs::read(&precious).unwrap(), b"text");
        }
    }

    /// Checks that a dropped lock is free while a child process that is being started still has a copy of its file.
    #[test]
    fn a_copy_of_the_file_does_not_keep_a_dropped_lock() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".lock");
        let LockAttempt::Locked(held) = lock(&path).unwrap() else {
            panic!("a new lock is free");
        };
        let copy = held.file.try_clone().unwrap();
        drop(held);
        assert_eq!(holder(&path).unwrap(), None);
        assert!(matches!(lock(&path).unwrap(), LockAttempt::Locked(_)));
        drop(copy);
    }

    /// Checks that a lock that names no process is waited for, since a reader may hold it for an instant.
    #[test]
    fn a_reader_does_not_refuse_a_run() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".lock");
        let reader = File::create(&path).unwrap();
        reader.lock().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(3 * PAUSE);
                reader.unlock().unwrap();
            });
            assert!(matches!(lock(&path).unwrap(), LockAttempt::Locked(_)));
        });
    }
}
