//! Altered files against every reader of the program.
//!
//! A [`Format`] is a kind of file with the function that reads it. [`corpus::write`] makes a sound file of each,
//! [`mutation`] alters it, and whatever comes of it, the reader must return: no panic, no hang, no memory beyond what
//! the file needs. Two programs drive them: `mutants` (this crate's own, on a stable toolchain, see
//! `scripts/check/mutate-files.py`) and the targets of `cargo fuzz` in `fuzz_targets/`.

pub mod corpus;
pub mod formats;
pub mod mutation;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

pub use formats::{FORMATS, Format, Kind};

/// A copy of the corpus in which one file is replaced again and again.
pub struct Scratch {
    folder: PathBuf,
}

impl Scratch {
    /// Copies `corpus` into the new folder `folder`.
    ///
    /// # Errors
    /// A folder that can't be written.
    pub fn new(corpus: &Path, folder: &Path) -> std::io::Result<Self> {
        copy(corpus, folder)?;
        Ok(Self {
            folder: folder.to_path_buf(),
        })
    }

    /// Puts `bytes` into the place of the format's file, and reads it.
    ///
    /// # Errors
    /// Whatever the reader refuses.
    pub fn read(&self, format: &Format, bytes: &[u8]) -> anyhow::Result<()> {
        // A new file each time: readers may have mapped the one before.
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

/// Reads `bytes` as the format of this name: what `cargo fuzz` calls. The corpus is made once a process.
///
/// # Panics
/// A format that is not known, a corpus that can't be made, and whatever a reader should not do.
pub fn fuzz(name: &str, bytes: &[u8]) {
    static SCRATCH: OnceLock<Scratch> = OnceLock::new();
    let scratch = SCRATCH.get_or_init(|| {
        let place = std::env::temp_dir().join(format!("polymath-fuzz-{}", std::process::id()));
        let (corpus, copy) = (place.join("corpus"), place.join("scratch"));
        corpus::write(&corpus).expect("the corpus is made by this program");
        Scratch::new(&corpus, &copy).expect("a folder for temporary files")
    });
    let format = formats::named(name).expect("a format of this crate");
    // A refused file counts as much as one that is read.
    let _ = scratch.read(format, bytes);
}
