//! Durable writes, staging, locks, and reading of regular files only.
//!
//! Everything that must survive a crash is written through this crate: to a temporary name in the same folder, synced,
//! renamed, and the folder synced. The temporary name ends in `.polymath-tmp`, which no other program uses. So the
//! leftovers of a killed process are recognized and cleared, and another program's files never are. A lock on the
//! staged file or folder tells a leftover from the work of a live process.
//!
//! ```
//! # let folder = tempfile::tempdir()?;
//! let path = folder.path().join("state.json");
//! polymath_base::write(&path, b"{}")?;
//! assert_eq!(polymath_base::read(&path)?, b"{}");
//! # Ok::<(), std::io::Error>(())
//! ```

mod digest;
mod lock;
mod place;
mod random;
mod regular;
mod staged;

pub use digest::{fnv1a, hexadecimal, sha256_of_bytes, sha256_of_file};
pub use lock::{Attempt, Lock, holder, lock};
pub use place::{clear_leftovers, is_leftover, remove, sync_folder};
pub use random::{GOLDEN, mix};
pub use regular::{exists, is_file, open, read, read_to_string};
pub use staged::{StagedFile, StagedFolder, abandon, write};
