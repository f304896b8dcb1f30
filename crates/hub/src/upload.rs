//! Input and result of a push to the hub.

use std::path::PathBuf;

use crate::Repository;

/// Content of a file to push.
#[derive(Debug, Clone)]
pub enum Content {
    /// A local file, by its path.
    File(PathBuf),
    /// Bytes in memory.
    Bytes(Vec<u8>),
}

impl Content {
    /// Returns the size in bytes; 0 for a file that can't be read.
    pub fn size(&self) -> u64 {
        match self {
            Self::File(path) => std::fs::metadata(path).map_or(0, |file| file.len()),
            Self::Bytes(bytes) => bytes.len() as u64,
        }
    }
}

/// A file to push to the hub.
#[derive(Debug, Clone)]
pub struct Upload {
    /// Path of the file in the repository.
    pub name: String,
    /// Content of the file.
    pub content: Content,
    /// True to keep a file of this name that already exists in the repository.
    pub keep_existing: bool,
}

/// A commit to push to the hub, with the repository that receives it.
#[derive(Debug)]
pub struct Push<'a> {
    /// Repository and branch; both are created if they are missing.
    pub repository: &'a Repository,
    /// True to make a new repository private.
    pub private: bool,
    /// Files to write; other files in the repository stay.
    pub files: Vec<Upload>,
    /// Commit message.
    pub message: String,
}

/// Result of a push to the hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// URL of the commit.
    pub url: String,
    /// True if the push left a file of the repository unchanged because `keep_existing` was set for it.
    pub kept_existing: bool,
}
