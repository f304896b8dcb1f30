//! Opening of regular files for reading, which refuses pipes, devices and folders.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{Error, ErrorKind, Read, Result};
use std::path::Path;

/// Opens a regular file for reading. A named pipe would block until another process writes to it, and a device may
/// never end.
///
/// # Errors
/// Fails if the file can't be opened, or if it is a folder, pipe, socket or device.
pub fn open(path: impl AsRef<Path>) -> Result<File> {
    let path = path.as_ref();
    // The type is checked before opening, because opening a device may have effects, and after it, because the path
    // may have changed.
    refuse_irregular(&std::fs::metadata(path)?)?;
    let file = open_at_once(path)?;
    refuse_irregular(&file.metadata()?)?;
    Ok(file)
}

/// Reads a whole file like [`std::fs::read`], if it is a regular file.
///
/// # Errors
/// Fails as [`open`] does, or if the file can't be read.
pub fn read(path: impl AsRef<Path>) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Reads a whole file of UTF-8 like [`std::fs::read_to_string`], if it is a regular file.
///
/// # Errors
/// Fails as [`open`] does, or if the file can't be read or is not UTF-8.
pub fn read_to_string(path: impl AsRef<Path>) -> Result<String> {
    let mut text = String::new();
    open(path)?.read_to_string(&mut text)?;
    Ok(text)
}

/// Returns true if there is a file at `path`; follows links. Unlike [`Path::is_file`], it does not treat a path that
/// can't be looked up as missing, since a settings file would then be ignored silently.
///
/// # Errors
/// Fails if the path can't be looked up.
pub fn is_file(path: impl AsRef<Path>) -> Result<bool> {
    Ok(look_up(path.as_ref())?.is_some_and(|found| found.is_file()))
}

/// Returns true if there is anything at `path`; follows links.
///
/// # Errors
/// Fails if the path can't be looked up.
pub fn exists(path: impl AsRef<Path>) -> Result<bool> {
    Ok(look_up(path.as_ref())?.is_some())
}

fn look_up(path: &Path) -> Result<Option<Metadata>> {
    let is_nowhere = |error: &Error| {
        matches!(
            error.kind(),
            ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::InvalidFilename
        )
    };
    match std::fs::metadata(path) {
        Ok(found) => Ok(Some(found)),
        Err(error) if is_nowhere(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Opens one of this program's own files for writing, and creates it if it is missing. Does not follow a link, and
/// does not block on a pipe.
pub(crate) fn open_to_write(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    {
        use rustix::fs::OFlags;
        use std::os::unix::fs::OpenOptionsExt;
        options.custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32);
    }
    options.open(path)
}

pub(crate) fn refuse_irregular(found: &Metadata) -> Result<()> {
    if found.is_file() {
        return Ok(());
    }
    if found.is_dir() {
        return Err(Error::new(
            ErrorKind::IsADirectory,
            "it is a folder, expected a file",
        ));
    }
    Err(Error::new(
        ErrorKind::InvalidInput,
        format!("it is {}, expected a regular file", kind(found)),
    ))
}

#[cfg(unix)]
fn kind(found: &Metadata) -> &'static str {
    use std::os::unix::fs::FileTypeExt;
    let kind = found.file_type();
    match () {
        () if kind.is_fifo() => "a named pipe",
        () if kind.is_socket() => "a socket",
        () if kind.is_char_device() || kind.is_block_device() => "a device",
        () => "something else",
    }
}

#[cfg(not(unix))]
fn kind(_found: &Metadata) -> &'static str {
    "something else"
}

/// Opens a file without blocking: if a pipe has replaced the file, it is opened at once and then refused.
#[cfg(unix)]
fn open_at_once(path: &Path) -> Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(rustix::fs::OFlags::NONBLOCK.bits() as i32)
        .open(path)
}

#[cfg(not(unix))]
fn open_at_once(path: &Path) -> Result<File> {
    File::open(path)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    /// Checks that pipes, devices and folders are refused at once with their type, and that a link to a file is
    /// accepted.
    #[test]
    fn only_regular_files_are_opened() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.unwrap().success());
        let refused = |path: &Path| read(path).unwrap_err().to_string();
        assert!(refused(&pipe).contains("named pipe"));
        assert!(refused("/dev/zero".as_ref()).contains("device"));
        assert!(refused(folder.path()).contains("folder"));
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        std::fs::write(&file, "text").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert_eq!(read_to_string(&link).unwrap(), "text");
    }
}
