//! Durable writes, staging, locks, and reading of regular files only.
//!
//! Whatever must survive a crash is written through this crate: beside its place, synced, renamed, and its folder
//! synced. The name beside the place ends in `.polymath-tmp`, which no other program uses, so that what a killed
//! process left behind is recognized and cleared, and a stranger's file never is. A lock on what is staged tells a
//! leftover from the work of a process that is alive.
//!
//! ```
//! # let folder = tempfile::tempdir()?;
//! let path = folder.path().join("state.json");
//! polymath_files::write(&path, b"{}")?;
//! assert_eq!(polymath_files::read(&path)?, b"{}");
//! # Ok::<(), std::io::Error>(())
//! ```

mod lock;
mod place;
mod regular;
mod staged;

pub use lock::{Attempt, Lock, holder, lock};
pub use place::{clear_leftovers, is_leftover, remove, sync_folder};
pub use regular::{exists, is_file, open, read, read_to_string};
pub use staged::{StagedFile, StagedFolder, abandon, write};
