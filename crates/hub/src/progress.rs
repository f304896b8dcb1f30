//! Progress of downloads and uploads, as the hub's client reports it.

use std::collections::BTreeMap;
use std::sync::{Mutex, OnceLock, PoisonError};

use hf_hub::progress::{DownloadEvent, FileProgress, ProgressEvent, ProgressHandler, UploadEvent};

use crate::transfer::{Direction, tell};

/// Sum of the progress over all files of a transfer.
#[derive(Default)]
pub(crate) struct TransferProgress {
    total_bytes: OnceLock<u64>,
    files: Mutex<BTreeMap<String, u64>>,
    /// Set when all content was transferred and only the commit remains.
    committing: OnceLock<()>,
}

impl TransferProgress {
    /// Returns the number of bytes transferred so far.
    pub(crate) fn bytes(&self) -> u64 {
        let arrived = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        arrived.values().sum()
    }

    /// Returns true if all content was transferred and only the commit remained.
    pub(crate) fn is_committing(&self) -> bool {
        self.committing.get().is_some()
    }

    fn note(&self, files: &[FileProgress]) -> u64 {
        let mut arrived = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        for file in files {
            arrived.insert(file.filename.clone(), file.bytes_completed);
        }
        arrived.values().sum()
    }

    fn total(&self, bytes: u64) -> u64 {
        self.total_bytes.get().copied().unwrap_or(bytes)
    }
}

impl ProgressHandler for TransferProgress {
    fn on_progress(&self, event: &ProgressEvent) {
        let (direction, bytes) = match event {
            ProgressEvent::Download(event) => {
                let bytes = match event {
                    DownloadEvent::Start { total_bytes, .. } => {
                        let _already = self.total_bytes.set(*total_bytes);
                        0
                    }
                    DownloadEvent::Progress { files } => self.note(files),
                    DownloadEvent::AggregateProgress {
                        bytes_completed, ..
                    } => *bytes_completed,
                    DownloadEvent::Complete => return,
                };
                (Direction::Download, bytes)
            }
            ProgressEvent::Upload(event) => {
                let bytes = match event {
                    UploadEvent::Start { total_bytes, .. } => {
                        let _already = self.total_bytes.set(*total_bytes);
                        0
                    }
                    UploadEvent::Progress { files, .. } => self.note(files),
                    UploadEvent::Committing => {
                        let _already = self.committing.set(());
                        return;
                    }
                    UploadEvent::Complete => self.total(0),
                };
                (Direction::Upload, bytes)
            }
        };
        tell(direction, bytes, self.total(bytes));
    }
}
