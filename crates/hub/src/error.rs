//! Errors of downloads and pushes.

use crate::Repository;

/// Error of a download from the hub or a push to it.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// A download failed.
    #[error("`{repository}` can't be downloaded from the hub: {reason}")]
    Download {
        /// Name of the repository, `owner/name[@revision]`.
        repository: String,
        /// Reason of the failure, and how to fix it.
        reason: String,
    },
    /// A push failed.
    #[error("`{repository}` can't be pushed to: {reason}")]
    Push {
        /// Name of the repository, `owner/name[@revision]`.
        repository: String,
        /// Reason of the failure, how much was sent, and how to fix it.
        reason: String,
    },
}

/// Creates the error of a failed download.
pub(crate) fn failure(repository: &Repository, reason: impl Into<String>) -> HubError {
    HubError::Download {
        repository: repository.to_string(),
        reason: reason.into(),
    }
}
