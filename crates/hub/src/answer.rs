//! Error responses of the Hugging Face hub, explained with advice for the user.

use hf_hub::HFError;

/// Returns true if `HF_HUB_OFFLINE` forbids requests to the hub, so that only the cache is used.
pub(crate) fn is_offline() -> bool {
    let value = std::env::var("HF_HUB_OFFLINE").unwrap_or_default();
    ["1", "on", "yes", "true"].contains(&value.to_lowercase().as_str())
}

/// Returns true if the hub did not answer or had a server error. Any other error is about the repository itself and
/// is final.
pub(crate) fn is_unreachable(error: &HFError) -> bool {
    match error {
        HFError::Request { .. } => true,
        HFError::Http { context } => context.status.is_server_error(),
        _ => false,
    }
}

/// Describes an error of the hub client for the user, with advice.
pub(crate) fn explain(error: &HFError) -> String {
    let (status, code) = answer(error);
    let advice = match (status, code) {
        (401, _) => {
            "set `HF_TOKEN`, or log in with `hf auth login`; the hub answers the same for a repository that does not \
             exist"
        }
        (403, _) => "ask for access on its page, and set a `HF_TOKEN` that is allowed to do this",
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
    format!("{reason} ({advice})")
}

/// Returns the HTTP status of the hub's response (0 if there was none) and the hub's error code.
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
