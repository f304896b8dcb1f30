//! Durable writes through temporary files, locks, and reading of regular files only.
//!
//! Everything that must survive a crash is written through this crate: to a temporary name in the same folder, which
//! is synced and renamed, after which the folder is synced. Temporary names end in `.polymath-tmp`, which no other
//! program uses. So the leftovers of a killed process can be recognized and removed, and files of other programs are
//! never removed. A lock on the temporary file or folder shows that its process is still alive.
//!
//! ```
//! # let folder = tempfile::tempdir()?;
//! let path = folder.path().join("state.json");
//! polymath_base::write(&path, b"{}")?;
//! assert_eq!(polymath_base::read(&path)?, b"{}");
//! # Ok::<(), std::io::Error>(())
//! ```

mod batch;
mod counted;
mod digest;
mod lock;
mod place;
mod random;
mod regular;
mod size;
mod space;
mod staged;

pub use batch::{Batch, IGNORED};
pub use counted::counted;
pub use digest::{fnv1a, hexadecimal, sha256_of_bytes, sha256_of_file};
pub use lock::{Lock, LockAttempt, holder, lock};
pub use place::{clear_leftovers, is_leftover, remove, sync_folder};
pub use random::{GOLDEN, mix};
pub use regular::{exists, is_file, open, read, read_to_string};
pub use size::bytes_text;
pub use space::free_space;
pub use staged::{StagedFile, StagedFolder, abandon, write};
