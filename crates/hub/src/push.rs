//! Push of files to the hub in one commit, so that either all of them arrive or none.

use std::sync::Arc;

use hf_hub::repository::{CommitInfo, CommitOperation, RepoTypeModel};
use hf_hub::{HFClientSync, HFError, HFRepositorySync};

use crate::answer::{explain, is_offline};
use crate::progress::TransferProgress;
use crate::{Content, HubError, Push, Pushed, Repository};

/// Creates the repository if it is missing, and commits the files to it.
///
/// # Errors
/// Fails if the hub can't be reached, if write access is denied, if the repository is public although `private` is
/// set, or if the transfer is interrupted. The error tells how much was sent.
pub fn push(push: &Push) -> Result<Pushed, HubError> {
    let repository = push.repository;
    let refused = |reason: String| HubError::Push {
        repository: repository.to_string(),
        reason,
    };
    if is_offline() {
        let reason = "`HF_HUB_OFFLINE` forbids requests to the hub: unset it to push";
        return Err(refused(reason.into()));
    }
    let nothing = |error: HFError| refused(format!("{}; nothing was sent", explain(&error)));
    let client = HFClientSync::new().map_err(nothing)?;
    let remote = client.model(repository.owner.as_str(), repository.name.as_str());
    let made = make(&client, &remote, push)
        .map_err(|reason| refused(format!("{reason}; nothing was sent")))?;
    let mut operations = Vec::new();
    for file in &push.files {
        if file.keep_existing && file_exists(&remote, push, &file.name).map_err(nothing)? {
            continue;
        }
        operations.push(match &file.content {
            Content::File(path) => CommitOperation::add_file(file.name.as_str(), path.as_path()),
            Content::Bytes(bytes) => CommitOperation::add_bytes(file.name.as_str(), bytes.clone()),
        });
    }
    let kept_existing = operations.len() < push.files.len();
    let arrivals = Arc::new(TransferProgress::default());
    let sent = remote
        .create_commit()
        .operations(operations)
        .commit_message(push.message.as_str())
        .revision(repository.revision())
        .progress(arrivals.clone())
        .send();
    let bytes = push.files.iter().map(|file| file.content.size()).sum();
    match sent {
        Ok(commit) => Ok(Pushed {
            url: url(commit, repository),
            kept_existing,
        }),
        Err(error) => {
            let mut reason = explain(&error);
            if made {
                reason += &format!("; the repository `{}` was created", repository.id());
            }
            reason += &what_was_sent(push, &arrivals, bytes);
            Err(refused(reason))
        }
    }
}

/// Creates the repository and the branch if they are missing; returns true if the repository is new.
fn make(
    client: &HFClientSync,
    remote: &HFRepositorySync<RepoTypeModel>,
    push: &Push,
) -> Result<bool, String> {
    let repository = push.repository;
    let id = repository.id();
    let create = client.create_repository().repo_id(&id);
    let created = create.repo_type(RepoTypeModel).private(push.private).send();
    let is_new = match created {
        Ok(_) => true,
        Err(HFError::Conflict { .. }) => false,
        Err(error) => return Err(explain(&error)),
    };
    if push.private && !is_new {
        let info = remote.info().send().map_err(|error| explain(&error))?;
        if info.private != Some(true) {
            return Err(format!(
                "`{id}` exists already and is public: make it private on its page first, or push to another"
            ));
        }
    }
    if repository.revision() != "main" {
        match remote.create_branch().branch(repository.revision()).send() {
            Ok(()) | Err(HFError::Conflict { .. }) => {}
            Err(error) => return Err(explain(&error)),
        }
    }
    Ok(is_new)
}

fn file_exists(
    remote: &HFRepositorySync<RepoTypeModel>,
    push: &Push,
    name: &str,
) -> Result<bool, HFError> {
    let exists = remote.file_exists().filename(name);
    exists.revision(push.repository.revision()).send()
}

fn url(commit: CommitInfo, repository: &Repository) -> String {
    let commit = commit.commit_url.or(commit.commit_oid);
    commit.unwrap_or_else(|| repository.to_string())
}

/// Describes how much was sent before a push failed.
fn what_was_sent(push: &Push, arrivals: &TransferProgress, bytes: u64) -> String {
    let files = push.files.len();
    let content = if arrivals.is_committing() {
        "the content of all large files had been sent, the commit with the small ones was refused"
            .into()
    } else {
        let (sent, all) = (arrivals.bytes() as f64 / 1e6, bytes as f64 / 1e6);
        format!("{sent:.1} of {all:.1} MB had been sent")
    };
    format!(
        "; {content}. None of the {files} files is in the repository, which takes them all at once or not at all: run the \
         command again, content that has arrived is not sent twice"
    )
}
