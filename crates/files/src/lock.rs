//! A lock that one process holds at a time, with its id for those that come too late.

use std::fs::{File, TryLockError};
use std::io::{Read, Result, Seek, SeekFrom, Write};
use std::path::Path;

use crate::regular::{open_to_write, refuse_irregular};

/// A lock file that this process holds. The system releases the lock when the process ends, however it ends.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // A reader that does not ask whether the lock is held must not see a process that has ended.
        let _ = self.file.set_len(0);
    }
}

/// The outcome of [`lock`].
#[derive(Debug)]
pub enum Attempt {
    /// This process holds the lock now.
    Locked(Lock),
    /// Another process holds it; its id, where it is known.
    HeldBy(Option<u32>),
}

/// Tries to take the lock file `path`, which is made if it is not there. It is not opened through a link.
///
/// # Errors
/// A file that can't be written; a link or something else in its place.
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

/// The process that holds the lock file `path`, if one does: `Some(None)` where its id is not known. Nothing is
/// written.
///
/// # Errors
/// A file that can't be read; a link or something else in its place.
pub fn holder(path: &Path) -> Result<Option<Option<u32>>> {
    let mut file = crate::regular::open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(None),
        Err(TryLockError::WouldBlock) => Ok(Some(process_in(&mut file))),
        Err(TryLockError::Error(source)) => Err(source),
    }
}

/// The process id in a lock file. It is not there in the instant between taking the lock and writing it.
fn process_in(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The second one is told who was first; a lock that is dropped can be taken again, and a link is not followed.
    #[test]
    fn one_holds_the_lock() {
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
