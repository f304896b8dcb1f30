//! A repository of the hub as this program takes files from it: listed first, fetched into the cache, checked by size.

use std::path::{Path, PathBuf};

use hf_hub::repository::{RepoTreeEntry, RepoType};
use hf_hub::{HFClient, HFClientSync, HFError, HFRepositorySync};

use crate::error::{explain, failure, is_offline, is_unreachable};
use crate::resume::{INCOMPLETE, resume};
use crate::transfer::Arrivals;
use crate::{HubError, Repository};

/// Attempts to fetch files that did not arrive whole.
const ATTEMPTS: usize = 3;

/// A file of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RemoteFile {
    /// Its path there.
    pub(crate) path: String,
    /// In bytes.
    pub(crate) size: u64,
    /// Its git object: the file itself, or, of a large file, the note that stands for it.
    pub(crate) object: String,
    /// True if git holds only a note of it.
    pub(crate) is_large: bool,
}

/// Contents of a repository.
pub(crate) enum Listing {
    /// The files that the hub names.
    Files(Vec<RemoteFile>),
    /// The hub can't be asked, and this folder of its cache is what is left of an earlier time; and why.
    Cached(PathBuf, String),
}

/// A repository at a revision, and the cache that its files go to.
pub(crate) struct Remote<'a, T: RepoType> {
    pub(crate) repository: &'a Repository,
    pub(crate) client: HFRepositorySync<T>,
    /// The folder of the whole cache.
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

    /// The repository's name as a folder of the cache.
    pub(crate) fn folder_name(&self) -> String {
        let kind = self.client.repo_type().plural();
        format!(
            "{kind}--{}--{}",
            self.repository.owner, self.repository.name
        )
    }

    /// Its files; where the hub can't be reached or must not be asked, what is in the cache.
    pub(crate) fn list(&self) -> Result<Listing, HubError> {
        if is_offline() {
            let cached = self.cached().ok_or_else(|| {
                let reason = "it is not in the cache, and `HF_HUB_OFFLINE` forbids to ask the hub: download it once \
                              without";
                failure(self.repository, reason)
            })?;
            let reason = "`HF_HUB_OFFLINE` forbids to ask the hub for the rest";
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

    /// Fetches files into the cache, and returns the folder there in which they all are, whole. What is cut off goes
    /// on.
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
                            "`{path}` does not arrive as the {size} bytes that it is said to be: run the command again"
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
            .progress(Arrivals::default())
            .send()
    }

    /// The newest snapshot in the cache.
    fn cached(&self) -> Option<PathBuf> {
        let found = self
            .client
            .snapshot_download()
            .revision(self.repository.revision.as_str())
            .local_files_only(true)
            .send();
        found.ok()
    }

    /// Takes a file that is not what it should be (the client keeps the page of an error as if it were the file) out
    /// of the cache, and marks it as cut off at its beginning, so that it is fetched with every answer looked at.
    fn begin_again(&self, folder: &Path, file: &RemoteFile) {
        let link = folder.join(&file.path);
        // If any of this can't be done, the next attempt finds the file as it is, and says so.
        if let Ok(blob) = link.canonicalize() {
            let _ = std::fs::remove_file(&blob);
            let _ = std::fs::write(incomplete(&blob), b"");
        }
        let _ = std::fs::remove_file(link);
    }
}

/// Returns the path of a file of the cache while it arrives.
pub(crate) fn incomplete(blob: &Path) -> PathBuf {
    let mut path = blob.as_os_str().to_owned();
    path.push(INCOMPLETE);
    path.into()
}

/// Returns true if the connection broke while content arrived.
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
    // A path that leads out of the cache is no file of a repository.
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

/// Returns true if a fetched file is as long as the hub says.
fn is_whole(folder: &Path, file: &RemoteFile) -> bool {
    let found = std::fs::metadata(folder.join(&file.path));
    found.is_ok_and(|found| found.len() == file.size)
}

/// A name as a glob that matches nothing else.
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

/// All files below a folder, sorted, as paths within it.
pub(crate) fn names_in(folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(inner) = folders.pop() {
        for entry in std::fs::read_dir(inner).into_iter().flatten().flatten() {
            // The cache's entries are links; what counts is where they lead.
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
