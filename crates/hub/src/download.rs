//! From the hub into its cache.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use hf_hub::progress::{DownloadEvent, ProgressEvent, ProgressHandler};
use hf_hub::repository::RepoType;
use hf_hub::{HFClientSync, HFError, HFRepositorySync};

use crate::{DatasetFiles, Repository};

/// What of a model's repository is read. Not weights in pickle files, and not what a training run left beside the model.
const MODEL_FILES: [&str; 8] = [
    "config.json",
    "generation_config.json",
    "model*.safetensors",
    "model.safetensors.index.json",
    "tokenizer*.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "*.jinja",
];

/// Why something of the hub is not to be had.
#[derive(Debug, thiserror::Error)]
#[error("`{repository}` can't be had from the hub: {reason}")]
pub struct HubError {
    repository: String,
    reason: String,
}

/// How far a download is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Download {
    /// Bytes that have arrived.
    pub bytes: u64,
    /// Bytes in all.
    pub total_bytes: u64,
}

type Watcher = Box<dyn Fn(Download) + Send + Sync>;

static WATCHER: OnceLock<Watcher> = OnceLock::new();

/// Has `watcher` told of every download of this process from now on; the first watcher stays.
pub fn watch_downloads(watcher: impl Fn(Download) + Send + Sync + 'static) {
    let _kept_the_first = WATCHER.set(Box::new(watcher));
}

/// The folder in the hub's cache that holds a model's `config.json`, tokenizer and safetensors files, downloaded where
/// they are not there yet.
///
/// # Errors
/// No such repository or revision, no right to it, no way to reach the hub, or a repository without safetensors files.
pub fn model_folder(repository: &Repository) -> Result<PathBuf, HubError> {
    let client = client(repository)?;
    let remote = client.model(repository.owner.as_str(), repository.name.as_str());
    let folder = snapshot(&remote, repository, &MODEL_FILES.map(str::to_owned))?;
    let whole = files_in(&folder)
        .iter()
        .any(|file| file.extension().is_some_and(|end| end == "safetensors"));
    if !whole || !folder.join("config.json").is_file() {
        let reason = "it has no `config.json` with `*.safetensors` files (weights in `.bin` or `.pt` are pickled \
                      programs and not read: save the model with `save_pretrained(…, safe_serialization=True)`)";
        return Err(failure(repository, reason));
    }
    Ok(folder)
}

/// The files that an address names, sorted, in the hub's cache, downloaded where they are not there yet.
///
/// # Errors
/// As [`model_folder`]; no file that fits.
pub fn dataset_files(files: &DatasetFiles) -> Result<Vec<PathBuf>, HubError> {
    let repository = &files.repository;
    let client = client(repository)?;
    let remote = client.dataset(repository.owner.as_str(), repository.name.as_str());
    let folder = snapshot(&remote, repository, std::slice::from_ref(&files.glob))?;
    let glob = pattern(files)?;
    // What an earlier call with another glob has left in the cache is not meant.
    // As a glob on disk: `*` stays within a folder.
    let by_component = glob::MatchOptions {
        require_literal_separator: true,
        ..glob::MatchOptions::default()
    };
    let mut found = files_in(&folder);
    found.retain(|file| {
        let within = file.strip_prefix(&folder).unwrap_or(file);
        glob.matches_path_with(within, by_component)
    });
    if found.is_empty() {
        let reason = format!("no file there fits `{}`", files.glob);
        return Err(failure(repository, reason));
    }
    Ok(found)
}

fn pattern(files: &DatasetFiles) -> Result<glob::Pattern, HubError> {
    // At the end, the `glob` crate takes `**` for folders only.
    let text = match files.glob.strip_suffix("**") {
        Some(folder) => format!("{folder}**/*"),
        None => files.glob.clone(),
    };
    glob::Pattern::new(&text).map_err(|error| {
        failure(
            &files.repository,
            format!("`{}` is no glob: {error}", files.glob),
        )
    })
}

fn client(repository: &Repository) -> Result<HFClientSync, HubError> {
    HFClientSync::new().map_err(|error| failure(repository, error.to_string()))
}

/// Whether `HF_HUB_OFFLINE` says that only the cache may be asked.
fn is_offline() -> bool {
    let value = std::env::var("HF_HUB_OFFLINE").unwrap_or_default();
    ["1", "on", "yes", "true"].contains(&value.to_lowercase().as_str())
}

/// The snapshot of a revision with the files that fit; the cached one where the hub can't be reached.
fn snapshot<T: RepoType>(
    remote: &HFRepositorySync<T>,
    repository: &Repository,
    globs: &[String],
) -> Result<PathBuf, HubError> {
    let ask = |only_cached: bool| {
        remote
            .snapshot_download()
            .revision(repository.revision.as_str())
            .allow_patterns(globs.to_vec())
            .local_files_only(only_cached)
            .progress(Arrivals::default())
            .send()
    };
    let offline = is_offline();
    let answer = match ask(offline) {
        Err(error) if !offline && is_unreachable(&error) => ask(true).map_err(|_| error),
        answer => answer,
    };
    answer.map_err(|error| failure(repository, explain(&error, offline)))
}

/// Whether the hub did not answer, or not sensibly; what it answered about the repository stands.
fn is_unreachable(error: &HFError) -> bool {
    match error {
        HFError::Request { .. } => true,
        HFError::Http { context } => context.status.is_server_error(),
        _ => false,
    }
}

fn failure(repository: &Repository, reason: impl Into<String>) -> HubError {
    HubError {
        repository: repository.to_string(),
        reason: reason.into(),
    }
}

/// What went wrong, and how to mend it.
fn explain(error: &HFError, offline: bool) -> String {
    let mend = match error {
        HFError::LocalEntryNotFound { .. } if offline => {
            return "it is not in the cache, and `HF_HUB_OFFLINE` forbids to ask the hub: download it once without"
                .into();
        }
        HFError::AuthRequired { .. } => {
            "set `HF_TOKEN`, or log in with `hf auth login`; a repository that does not exist is answered alike"
        }
        HFError::Forbidden { .. } => "ask for access on its page, and set `HF_TOKEN`",
        HFError::RepoNotFound { .. } => "check the name; a private one needs `HF_TOKEN`",
        HFError::RevisionNotFound { .. } => "name a branch, tag or commit after `@`",
        HFError::RateLimited { .. } => "wait a while, or set `HF_TOKEN`",
        _ => "check the network and `HF_ENDPOINT`, and run the command again",
    };
    let mut reason = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let text = error.to_string();
        if !reason.contains(&text) {
            reason = format!("{reason}: {text}");
        }
        cause = error.source();
    }
    format!("{reason} ({mend})")
}

/// All files below a folder, sorted.
fn files_in(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            // The cache's entries are links; what counts is where they lead.
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.is_file() {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

/// Adds up what arrives of every file.
#[derive(Default)]
struct Arrivals {
    total_bytes: OnceLock<u64>,
    files: Mutex<BTreeMap<String, u64>>,
}

impl ProgressHandler for Arrivals {
    fn on_progress(&self, event: &ProgressEvent) {
        let (Some(watcher), ProgressEvent::Download(event)) = (WATCHER.get(), event) else {
            return;
        };
        let bytes = match event {
            DownloadEvent::Start { total_bytes, .. } => {
                let _already = self.total_bytes.set(*total_bytes);
                0
            }
            DownloadEvent::Progress { files } => {
                let mut arrived = self.files.lock().unwrap_or_else(PoisonError::into_inner);
                for file in files {
                    arrived.insert(file.filename.clone(), file.bytes_completed);
                }
                arrived.values().sum()
            }
            DownloadEvent::AggregateProgress {
                bytes_completed, ..
            } => *bytes_completed,
            DownloadEvent::Complete => return,
        };
        let total_bytes = self.total_bytes.get().copied().unwrap_or(bytes);
        watcher(Download {
            bytes: bytes.min(total_bytes),
            total_bytes,
        });
    }
}
