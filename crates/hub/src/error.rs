//! Why something of the hub is not to be had, in a sentence that says how to mend it.

use hf_hub::HFError;

use crate::Repository;

/// Why something of the hub is not to be had, or nothing can be given to it.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// Something can't be taken.
    #[error("`{repository}` can't be had from the hub: {reason}")]
    Take {
        /// `owner/name[@revision]`.
        repository: String,
        /// Why not, and how to mend it.
        reason: String,
    },
    /// Something can't be given.
    #[error("`{repository}` can't be pushed to: {reason}")]
    Give {
        /// `owner/name[@revision]`.
        repository: String,
        /// Why not, how far it came, and how to mend it.
        reason: String,
    },
}

/// A failure to take something.
pub(crate) fn failure(repository: &Repository, reason: impl Into<String>) -> HubError {
    HubError::Take {
        repository: repository.to_string(),
        reason: reason.into(),
    }
}

/// Returns true if `HF_HUB_OFFLINE` says that only the cache may be asked.
pub(crate) fn is_offline() -> bool {
    let value = std::env::var("HF_HUB_OFFLINE").unwrap_or_default();
    ["1", "on", "yes", "true"].contains(&value.to_lowercase().as_str())
}

/// Returns true if the hub did not answer, or not sensibly; an answer about the repository is no such error.
pub(crate) fn is_unreachable(error: &HFError) -> bool {
    match error {
        HFError::Request { .. } => true,
        HFError::Http { context } => context.status.is_server_error(),
        _ => false,
    }
}

/// Fault, and the way to mend it.
pub(crate) fn explain(error: &HFError) -> String {
    let (status, code) = answer(error);
    let mend = match (status, code) {
        (401, _) => {
            "set `HF_TOKEN`, or log in with `hf auth login`; a repository that does not exist is answered alike"
        }
        (403, _) => "ask for access on its page, and set a `HF_TOKEN` that may do this",
        (404, "RevisionNotFound") => "name a branch, tag or commit after `@`",
        (404, _) => "check the name; a private one needs `HF_TOKEN`",
        (429, _) => "wait a while, or set `HF_TOKEN`",
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

/// The status that the hub answered with, 0 where it did not answer, and its own word for the reason.
fn answer(error: &HFError) -> (u16, &str) {
    let context = match error {
        HFError::Http { context }
        | HFError::AuthRequired { context }
        | HFError::Forbidden { context }
        | HFError::Conflict { context }
        | HFError::RateLimited { context, .. } => context,
        HFError::RevisionNotFound { .. } => return (404, "RevisionNotFound"),
        HFError::RepoNotFound { .. } | HFError::EntryNotFound { .. } => return (404, ""),
        _ => return (0, ""),
    };
    let code = context.error_code.as_deref().unwrap_or_default();
    (context.status.as_u16(), code)
}
