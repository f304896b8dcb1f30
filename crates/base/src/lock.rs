//! A lock that one process holds at a time. The lock file names the process id for processes that come later.

use std::fs::{File, TryLockError};
use std::io::{Read, Result, Seek, SeekFrom, Write};
use std::path::Path;

use crate::regular::{open_to_write, refuse_irregular};

/// Lock file that this process holds. The system releases the lock when the process ends, for any reason.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // A reader that does not check the lock must not be told of a process that has ended.
        let _ = self.file.set_len(0);
    }
}

/// Outcome of [`lock`].
#[derive(Debug)]
pub enum Attempt {
    /// This process now holds the lock.
    Locked(Lock),
    /// Another process holds the lock; its id, if known.
    HeldBy(Option<u32>),
}

/// Tries to take the lock file `path` and creates it if it is missing. Does not follow a link.
///
/// # Errors
/// Fails if the file can't be written, or if `path` is a link or not a regular file.
pub fn lock(path: &Path) -> Result<Attempt> {
    let mut file = open_to_write(path)?;
    refuse_irregular(&file.metadata()?)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(Attempt::HeldBy(process_in(&mut file))),
        Err(TryLockError::Error(source)) => return Err(source),
    }
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0))?;
    writeln!(file, "{}", std::process::id())?;
    Ok(Attempt::Locked(Lock { file }))
}

/// Returns the process that holds the lock file `path`, if any; `Some(None)` if its id is not known. Writes nothing.
///
/// # Errors
/// Fails if the file can't be read, or if `path` is a link or not a regular file.
pub fn holder(path: &Path) -> Result<Option<Option<u32>>> {
    let mut file = crate::regular::open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(None),
        Err(TryLockError::WouldBlock) => Ok(Some(process_in(&mut file))),
        Err(TryLockError::Error(source)) => Err(source),
    }
}

/// Returns the process id in a lock file. It is missing in the instant between taking the lock and writing the id.
fn process_in(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that the second process learns who holds the lock, that a dropped lock can be taken again, and that a
    /// link is not followed.
    #[test]
    fn a_second_process_is_told_who_holds_the_lock() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".lock");
        let held = lock(&path).unwrap();
        assert!(matches!(held, Attempt::Locked(_)));
        let own = std::process::id();
        assert!(matches!(lock(&path).unwrap(), Attempt::HeldBy(Some(id)) if id == own));
        assert_eq!(holder(&path).unwrap(), Some(Some(own)));
        drop(held);
        assert_eq!(holder(&path).unwrap(), None);
        assert!(matches!(lock(&path).unwrap(), Attempt::Locked(_)));
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
}
