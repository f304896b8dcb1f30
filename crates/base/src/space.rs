//! Free space of a disk.

use std::path::Path;

/// Returns the bytes that are free for this user on the disk of `path`, which need not exist yet. Returns `None` if the
/// system does not tell.
#[cfg(unix)]
pub fn free_space(path: &Path) -> Option<u64> {
    let whole = std::path::absolute(path).ok()?;
    let existing = whole.ancestors().find(|folder| folder.exists())?;
    let found = rustix::fs::statvfs(existing).ok()?;
    Some(found.f_bavail.saturating_mul(found.f_frsize))
}

/// Returns `None`: the free space is not known on this system.
#[cfg(not(unix))]
pub fn free_space(_path: &Path) -> Option<u64> {
    None
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    /// Checks that the function asks the disk of the nearest folder that exists.
    #[test]
    fn a_folder_to_be_made_is_on_the_disk_of_the_one_above() {
        let folder = tempfile::tempdir().unwrap();
        let later = folder.path().join("a/b/c");
        assert!(free_space(&later).unwrap() > 0);
        assert!(!later.exists());
    }
}
