//! Feeds altered files to every reader of the program.
//!
//! A [`Format`] is a kind of file with the function that reads it. [`corpus::write`] writes a valid file of each, and
//! [`mutation`] alters it. For every altered file, the reader must return: no panic, no hang, no memory beyond what the
//! file needs. Two programs use this crate: `mutants` (on a stable toolchain, see `scripts/check/mutate-files.py`) and
//! the targets of `cargo fuzz` in `fuzz_targets/`.

pub mod corpus;
pub mod formats;
pub mod mutation;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

pub use formats::{FORMATS, Format, Kind};

/// Copy of the corpus in which one file is replaced again and again.
pub struct Scratch {
    folder: PathBuf,
}

impl Scratch {
    /// Copies `corpus` into the new folder `folder`.
    ///
    /// # Errors
    /// Fails if the folder can't be written.
    pub fn new(corpus: &Path, folder: &Path) -> std::io::Result<Self> {
        copy(corpus, folder)?;
        Ok(Self {
            folder: folder.to_path_buf(),
        })
    }

    /// Replaces the format's file by `bytes` and reads it.
    ///
    /// # Errors
    /// Fails if the reader fails.
    pub fn read(&self, format: &Format, bytes: &[u8]) -> anyhow::Result<()> {
        // A new file each time: readers may have mapped the previous one.
        let path = self.folder.join(format.file);
        std::fs::remove_file(&path)?;
        std::fs::write(&path, bytes)?;
        (format.read)(&self.folder)
    }
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let (path, target) = {
            let entry = entry?;
            (entry.path(), to.join(entry.file_name()))
        };
        if path.is_symlink() {
            #[cfg(unix)]
            std::os::unix::fs::symlink(std::fs::read_link(&path)?, target)?;
        } else if path.is_dir() {
            copy(&path, &target)?;
        } else {
            std::fs::copy(&path, &target)?;
        }
    }
    Ok(())
}

/// Reads `bytes` as the format of this name. `cargo fuzz` calls it. The corpus is written once per process.
///
/// # Panics
/// Panics if the format is unknown, if the corpus can't be written, or if the reader panics.
pub fn fuzz(name: &str, bytes: &[u8]) {
    static SCRATCH: OnceLock<Scratch> = OnceLock::new();
    let scratch = SCRATCH.get_or_init(|| {
        let place = std::env::temp_dir().join(format!("polymath-fuzz-{}", std::process::id()));
        let (corpus, copy) = (place.join("corpus"), place.join("scratch"));
        corpus::write(&corpus).expect("the corpus is made by this program");
        Scratch::new(&corpus, &copy).expect("a folder for temporary files")
    });
    let format = formats::named(name).expect("a format of this crate");
    // A refused file is as good as one that is read.
    let _ = scratch.read(format, bytes);
}
