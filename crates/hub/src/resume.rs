//! Resuming of downloads that were interrupted in this run or an earlier one.
//!
//! The hub's client would download such a file again from the beginning. But it leaves the partial content in its
//! cache as `<tag>.incomplete`, protected by the lock file that all Hugging Face tools use. This module requests the
//! rest by range and checks the content against the tag; the client then finds the complete file. This works because
//! the client writes a file in order from its beginning, even from the chunked store, where several chunks are
//! downloaded at once.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use hf_hub::HFError;
use hf_hub::repository::RepoType;
use sha1::{Digest, Sha1};
use sha2::Sha256;

use crate::remote::{Remote, RemoteFile, is_cut_off};
use crate::transfer::{Direction, tell};

/// Suffix of the name of a partial file.
pub(crate) const INCOMPLETE: &str = ".incomplete";
/// Bytes per request. Each request is preceded by a few small ones.
const PIECE: u64 = 64 << 20;
/// Maximum number of attempts per piece of a download.
const ATTEMPTS: usize = 4;

/// Completes the downloads of those among `files` that were interrupted.
///
/// # Errors
/// Fails if the hub fails or the disk is full.
pub(crate) fn resume<T: RepoType>(remote: &Remote<T>, files: &[RemoteFile]) -> Result<(), HFError> {
    let folder = remote.folder_name();
    let blobs = remote.cache.join(&folder).join("blobs");
    for tag in partial_tags(&blobs) {
        let Some(file) = files.iter().find(|file| has_tag(file, &tag)) else {
            continue;
        };
        let locks = remote.cache.join(".locks").join(&folder);
        let Some(_lock) = lock(&locks, &tag)? else {
            // Another process is downloading this file.
            continue;
        };
        let partial = blobs.join(format!("{tag}{INCOMPLETE}"));
        complete(remote, file, &partial)?;
        if tag_of(&partial, file)? == tag {
            std::fs::rename(&partial, blobs.join(&tag))?;
        } else {
            // The partial content was of another file.
            std::fs::remove_file(&partial)?;
        }
    }
    Ok(())
}

/// Returns the cache tags of the partial downloads in a folder.
fn partial_tags(blobs: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(blobs).into_iter().flatten().flatten();
    let mut tags: Vec<String> = entries
        .filter_map(|entry| {
            let name = entry.file_name();
            Some(name.to_str()?.strip_suffix(INCOMPLETE)?.to_owned())
        })
        .collect();
    tags.sort();
    tags
}

/// Returns true if the cache stores a file under this tag. The tag is the git object ID of a small file, or the
/// SHA-256 of a large file, which its LFS pointer (three lines of text) contains.
fn has_tag(file: &RemoteFile, tag: &str) -> bool {
    if !file.is_large {
        return file.object == tag;
    }
    let note = format!(
        "version https://git-lfs.github.com/spec/v1\noid sha256:{tag}\nsize {}\n",
        file.size
    );
    file.object == git_object(note.len() as u64, note.as_bytes()).unwrap_or_default()
}

/// Returns the git object ID of content of the given size.
fn git_object(size: u64, content: impl Read) -> std::io::Result<String> {
    let mut hasher = Sha1::new_with_prefix(format!("blob {size}\0"));
    digest(content, &mut hasher)?;
    Ok(polymath_base::hexadecimal(&hasher.finalize()))
}

/// Returns the cache tag that the content at `path` would have if it were the content of `file`.
fn tag_of(path: &Path, file: &RemoteFile) -> std::io::Result<String> {
    let content = polymath_base::open(path)?;
    if !file.is_large {
        return git_object(file.size, content);
    }
    let mut hasher = Sha256::new();
    digest(content, &mut hasher)?;
    Ok(polymath_base::hexadecimal(&hasher.finalize()))
}

fn digest(mut content: impl Read, hasher: &mut impl Digest) -> std::io::Result<()> {
    let mut buffer = vec![0; 1 << 18];
    loop {
        match content.read(&mut buffer)? {
            0 => return Ok(()),
            read => hasher.update(&buffer[..read]),
        }
    }
}

fn lock(folder: &Path, tag: &str) -> std::io::Result<Option<File>> {
    std::fs::create_dir_all(folder)?;
    let path: PathBuf = folder.join(format!("{tag}.lock"));
    let file = File::create(path)?;
    Ok(file.try_lock().is_ok().then_some(file))
}

/// Downloads the missing end of the partial file `partial`, piece by piece.
fn complete<T: RepoType>(
    remote: &Remote<T>,
    file: &RemoteFile,
    partial: &Path,
) -> Result<(), HFError> {
    let mut out = OpenOptions::new().append(true).open(partial)?;
    let mut have = out.metadata()?.len();
    if have > file.size {
        out.set_len(0)?;
        have = 0;
    }
    while have < file.size {
        let until = file.size.min(have + PIECE);
        let piece = piece(remote, file, have..until)?;
        if piece.len() as u64 != until - have {
            let (asked, came) = (until - have, piece.len());
            let path = &file.path;
            let reason = format!("received {came} bytes of `{path}`, expected {asked}");
            return Err(HFError::Other(reason));
        }
        out.write_all(&piece)?;
        have = until;
        tell(Direction::Download, have, file.size);
    }
    out.sync_all()?;
    Ok(())
}

/// Downloads a byte range of a file; reconnects if the connection is interrupted.
fn piece<T: RepoType>(
    remote: &Remote<T>,
    file: &RemoteFile,
    range: std::ops::Range<u64>,
) -> Result<impl std::ops::Deref<Target = [u8]>, HFError> {
    let mut attempt = 0;
    loop {
        attempt += 1;
        let bytes = remote.client.download_file_to_bytes();
        let answer = bytes
            .filename(file.path.as_str())
            .revision(remote.repository.revision())
            .range(range.clone())
            .send();
        match answer {
            Err(error) if is_cut_off(&error) && attempt < ATTEMPTS => {}
            answer => return answer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks the git object IDs of a file and of the LFS pointer of a large file.
    #[test]
    fn tags_are_git_and_lfs_object_ids() {
        let mut file = RemoteFile {
            path: "a".into(),
            size: 6,
            object: "ce013625030ba8dba906f756967f9e9ca394464a".into(),
            is_large: false,
        };
        assert!(has_tag(&file, &file.object));
        assert_eq!(git_object(6, &b"hello\n"[..]).unwrap(), file.object);
        let sha256 = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
        assert!(!has_tag(&file, sha256));
        file.is_large = true;
        let note =
            format!("version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize 6\n");
        file.object = git_object(note.len() as u64, note.as_bytes()).unwrap();
        assert!(has_tag(&file, sha256));
    }
}
