//! A repository of the hub: listing its files, downloading them into the cache, and checking their sizes.

use std::path::{Path, PathBuf};

use hf_hub::repository::{RepoTreeEntry, RepoType};
use hf_hub::{HFClient, HFClientSync, HFError, HFRepositorySync};

use crate::answer::{explain, is_offline, is_unreachable};
use crate::error::failure;
use crate::progress::TransferProgress;
use crate::resume::{INCOMPLETE, resume};

use crate::{HubError, Repository};

/// Number of attempts to download files that arrive incomplete.
const ATTEMPTS: usize = 3;

/// File of a repository, as the hub lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RemoteFile {
    /// Path of the file in the repository.
    pub(crate) path: String,
    /// Size of the file in bytes.
    pub(crate) size: u64,
    /// Git object ID of the file, or for a large file of its LFS pointer.
    pub(crate) object: String,
    /// True if the git repository stores an LFS pointer in place of the file.
    pub(crate) is_large: bool,
}

/// Result of listing a repository: the hub's list, or a cached folder if the hub can't be reached.
pub(crate) enum Listing {
    /// The files that the hub lists.
    Files(Vec<RemoteFile>),
    /// The hub can't be reached. Holds the folder of an earlier download in the cache, and the reason.
    Cached(PathBuf, String),
}

/// A repository at a revision, and the cache for its files.
pub(crate) struct Remote<'a, T: RepoType> {
    pub(crate) repository: &'a Repository,
    pub(crate) client: HFRepositorySync<T>,
    /// Root folder of the hub's cache.
    pub(crate) cache: PathBuf,
}

impl<'a, T: RepoType> Remote<'a, T> {
    pub(crate) fn open(repository: &'a Repository) -> Result<Self, HubError> {
        let say = |error: HFError| failure(repository, explain(&error));
        let client = HFClient::new().map_err(say)?;
        let cache = client.cache_dir().to_path_buf();
        let client = HFClientSync::from_inner(client).map_err(say)?;
        let (owner, name) = (repository.owner.as_str(), repository.name.as_str());
        Ok(Self {
            repository,
            client: client.repository(T::default(), owner, name),
            cache,
        })
    }

    /// Returns the name of the repository's folder in the cache.
    pub(crate) fn folder_name(&self) -> String {
        let kind = self.client.repo_type().plural();
        format!(
            "{kind}--{}--{}",
            self.repository.owner, self.repository.name
        )
    }

    /// Lists the files. If the hub can't be reached, or requests are forbidden, it returns the cached folder.
    pub(crate) fn list(&self) -> Result<Listing, HubError> {
        if is_offline() {
            let cached = self.cached().ok_or_else(|| {
                let reason = "it is not in the cache, and `HF_HUB_OFFLINE` forbids requests to the hub: unset it to \
                              download it once";
                failure(self.repository, reason)
            })?;
            let reason = "`HF_HUB_OFFLINE` forbids to download the rest";
            return Ok(Listing::Cached(cached, reason.into()));
        }
        let tree = self.client.list_tree().recursive(true);
        let tree = tree.revision(self.repository.revision.as_str()).send();
        match tree {
            Ok(entries) => Ok(Listing::Files(files_of(entries))),
            Err(error) => {
                let reason = explain(&error);
                match self.cached().filter(|_| is_unreachable(&error)) {
                    Some(cached) => Ok(Listing::Cached(cached, reason)),
                    None => Err(failure(self.repository, reason)),
                }
            }
        }
    }

    /// Downloads files into the cache and returns the folder that holds all of them. Resumes partial downloads.
    pub(crate) fn fetch(&self, files: &[RemoteFile]) -> Result<PathBuf, HubError> {
        let stopped = |error: HFError| failure(self.repository, explain(&error));
        let mut attempt = 0;
        loop {
            attempt += 1;
            resume(self, files).map_err(stopped)?;
            match self.snapshot(files) {
                Ok(folder) => {
                    let Some(broken) = files.iter().find(|file| !is_whole(&folder, file)) else {
                        return Ok(folder);
                    };
                    self.begin_again(&folder, broken);
                    if attempt == ATTEMPTS {
                        let (path, size) = (&broken.path, broken.size);
                        let reason = format!(
                            "`{path}` did not arrive with its full {size} bytes: run the command again"
                        );
                        return Err(failure(self.repository, reason));
                    }
                }
                Err(error) if is_cut_off(&error) && attempt < ATTEMPTS => {}
                Err(error) => return Err(stopped(error)),
            }
        }
    }

    fn snapshot(&self, files: &[RemoteFile]) -> Result<PathBuf, HFError> {
        let names: Vec<String> = files.iter().map(|file| escape(&file.path)).collect();
        self.client
            .snapshot_download()
            .revision(self.repository.revision.as_str())
            .allow_patterns(names)
            .progress(TransferProgress::default())
            .send()
    }

    /// Returns the repository's newest snapshot in the cache.
    fn cached(&self) -> Option<PathBuf> {
        let found = self
            .client
            .snapshot_download()
            .revision(self.repository.revision.as_str())
            .local_files_only(true)
            .send();
        found.ok()
    }

    /// Removes a file of the wrong size from the cache and marks it as a partial download of 0 bytes, so that the
    /// next attempt downloads it and checks every response. (The client may have stored an error page as the file's
    /// content.)
    fn begin_again(&self, folder: &Path, file: &RemoteFile) {
        let link = folder.join(&file.path);
        // If a step fails, the next attempt finds the same file and reports it.
        if let Ok(blob) = link.canonicalize() {
            let _ = std::fs::remove_file(&blob);
            let _ = std::fs::write(incomplete(&blob), b"");
        }
        let _ = std::fs::remove_file(link);
    }
}

/// Returns the path of a cache file during its download.
pub(crate) fn incomplete(blob: &Path) -> PathBuf {
    let mut path = blob.as_os_str().to_owned();
    path.push(INCOMPLETE);
    path.into()
}

/// Returns true if the connection was interrupted during a transfer.
pub(crate) fn is_cut_off(error: &HFError) -> bool {
    matches!(error, HFError::Request { source, .. } if source.is_body() || source.is_decode())
}

fn files_of(entries: Vec<RepoTreeEntry>) -> Vec<RemoteFile> {
    let files = entries.into_iter().filter_map(|entry| match entry {
        RepoTreeEntry::File {
            path,
            size,
            oid,
            lfs,
            ..
        } => Some(RemoteFile {
            path,
            size,
            object: oid,
            is_large: lfs.is_some(),
        }),
        RepoTreeEntry::Directory { .. } => None,
    });
    // A path that leads out of the cache is not a file of the repository.
    let mut files: Vec<RemoteFile> = files
        .filter(|file| {
            file.path
                .split('/')
                .all(|part| !part.is_empty() && part != ".." && part != ".")
        })
        .collect();
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

/// Returns true if a downloaded file has the size that the hub gives.
fn is_whole(folder: &Path, file: &RemoteFile) -> bool {
    let found = std::fs::metadata(folder.join(&file.path));
    found.is_ok_and(|found| found.len() == file.size)
}

/// Escapes a file name, so that it matches only itself when it is used as a glob.
fn escape(name: &str) -> String {
    let mut glob = String::new();
    for letter in name.chars() {
        if "*?[]{}\\".contains(letter) {
            glob.extend(['[', letter, ']']);
        } else {
            glob.push(letter);
        }
    }
    glob
}

/// Returns all files in a folder and its subfolders, as sorted paths relative to the folder.
pub(crate) fn names_in(folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(inner) = folders.pop() {
        for entry in std::fs::read_dir(inner).into_iter().flatten().flatten() {
            // The entries of the cache are links, so the type of the target counts.
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.is_file() {
                let within = path.strip_prefix(folder).unwrap_or(&path).components();
                let parts: Vec<_> = within
                    .map(|part| part.as_os_str().to_string_lossy())
                    .collect();
                names.push(parts.join("/"));
            }
        }
    }
    names.sort();
    names
}
