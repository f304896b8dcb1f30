//! Resolution of a checkpoint's path to a folder whose content does not change.
//!
//! `best` and `latest` are links that a run moves. A command that opened files one by one through such a link could
//! mix two checkpoints, and a run that stored the link could resume from another base. Therefore a path is resolved
//! once.

use std::path::{Path, PathBuf};

use polymath_hub::{HubError, Repository};
use polymath_model::NamedBase;

use crate::checkpoint::{STATE, verify_model};
use crate::{TrainError, locate};

/// Maximum number of attempts to resolve a link that a run moves at the same time. A run moves its links seconds apart.
const ATTEMPTS: usize = 5;

/// Resolved path of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// Folder without links, such as `checkpoints/small/step-000500`.
    pub folder: PathBuf,
    /// Path given by the user, such as `checkpoints/small/best`.
    pub named: PathBuf,
}

impl Resolved {
    /// Returns a path that could not be resolved to a checkpoint unchanged. The caller that opens it explains the
    /// error.
    fn as_given(path: &Path) -> Self {
        Self {
            folder: path.to_path_buf(),
            named: path.to_path_buf(),
        }
    }
}

/// Returns the folder of a checkpoint; see [`resolve`].
///
/// # Errors
/// Fails like [`resolve`].
pub fn resolve_checkpoint(path: &Path) -> Result<PathBuf, TrainError> {
    Ok(resolve(path)?.folder)
}

/// Resolves the path of a checkpoint. The path is a model folder or a run folder, which stands for its best or else
/// its latest checkpoint. If nothing of that name exists, `owner/name[@revision]` is a model of the Hugging Face hub
/// and is downloaded into the hub's cache. Links are followed once. A checkpoint of this program is verified first.
///
/// # Errors
/// Fails if a checkpoint was altered or a model can't be downloaded.
pub fn resolve(path: &Path) -> Result<Resolved, TrainError> {
    if let Some(repository) = on_the_hub(path) {
        let folder = download(&repository).map_err(|error| {
            TrainError::Hub(format!(
                "there is no folder `{}` here, and {error}",
                path.display()
            ))
        })?;
        return Ok(Resolved {
            named: folder.clone(),
            folder,
        });
    }
    if path.metadata().is_err() {
        return Ok(Resolved::as_given(path));
    }
    let mut found = follow(path)?;
    for _ in 1..ATTEMPTS {
        let checked = check(&found.folder);
        if checked.is_ok() && found.folder.is_dir() {
            return Ok(found);
        }
        // A training run may have removed the checkpoint while it was read, and moved its link to another.
        let now = follow(path)?;
        if now == found {
            return checked.map(|()| found);
        }
        found = now;
    }
    check(&found.folder).map(|()| found)
}

/// Verifies the model's files in a checkpoint if this program wrote it.
fn check(folder: &Path) -> Result<(), TrainError> {
    match is_file(&folder.join(STATE))? {
        true => verify_model(folder).map(drop),
        false => Ok(()),
    }
}

/// Downloads the model of a repository into the hub's cache. Fails for an unsupported model before its weights are
/// downloaded.
fn download(repository: &Repository) -> Result<PathBuf, HubError> {
    polymath_hub::model_folder(repository, &|folder| {
        match polymath_model::is_adapter(folder) {
            true => polymath_model::named_base(folder).map(drop),
            false => polymath_model::load_config(folder).map(drop),
        }
        .map_err(|error| error.to_string())
    })
}

/// Returns the base of the adapter in `folder`: the checkpoint `given`, or else the base that the adapter's config
/// names, on this machine or on the hub. Returns `None` if the folder has no adapter or its base is not found.
///
/// # Errors
/// Fails like [`resolve`].
pub fn resolve_base(folder: &Path, given: Option<&Path>) -> Result<Option<PathBuf>, TrainError> {
    if !polymath_model::is_adapter(folder) {
        return Ok(None);
    }
    if let Some(given) = given {
        return resolve_checkpoint(given).map(Some);
    }
    let named = polymath_model::named_base(folder)?;
    let here = locate(Path::new(&named.name), folder);
    if polymath_base::exists(&here).map_err(TrainError::file("look up", &here))? {
        return resolve_checkpoint(&here).map(Some);
    }
    let Some(repository) = Repository::parse(&named.name) else {
        return Ok(None);
    };
    let repository = match named.revision {
        Some(revision) => repository.at(revision),
        None => repository,
    };
    download(&repository).map(Some).map_err(|error| {
        TrainError::Hub(format!(
            "`{}` is an adapter for a base that is not here, and {error}; or give its folder with `--base`",
            folder.display()
        ))
    })
}

/// Returns the hub repository and commit from which a checkpoint was downloaded, if `path` is a name on the hub.
/// `folder` is the folder to which the path was resolved.
pub fn published(path: &Path, folder: &Path) -> Option<NamedBase> {
    let repository = on_the_hub(path)?;
    let commit = folder.file_name()?.to_str()?;
    Some(NamedBase {
        name: repository.id(),
        revision: Some(commit.to_owned()),
    })
}

/// Returns the hub repository that the path names, if the path can't be a local one: it has the form `owner/name`, and
/// its parent folder does not exist.
fn on_the_hub(path: &Path) -> Option<Repository> {
    let repository = Repository::parse(path.to_str()?)?;
    let parent = path.parent().unwrap_or(path);
    (!path.exists() && !parent.exists()).then_some(repository)
}

fn is_file(path: &Path) -> Result<bool, TrainError> {
    polymath_base::is_file(path).map_err(TrainError::file("look up", path))
}

/// Returns the checkpoint to which a path leads now. A candidate that can't be looked up is an error and is not
/// skipped.
///
/// # Errors
/// Fails with the error of the operating system.
fn follow(path: &Path) -> Result<Resolved, TrainError> {
    let candidates = [
        path.to_path_buf(),
        link_target(path, "best"),
        link_target(path, "latest"),
    ];
    for named in candidates {
        let folder = without_links(&named);
        for config in ["config.json", "adapter_config.json"] {
            if is_file(&folder.join(config))? {
                return Ok(Resolved { folder, named });
            }
        }
    }
    Ok(Resolved::as_given(path))
}

/// Returns the target of the link `name` of a run. On systems without links, it is a text file that names the
/// checkpoint.
fn link_target(run: &Path, name: &str) -> PathBuf {
    let link = run.join(name);
    match polymath_base::read_to_string(&link) {
        Ok(target) => run.join(target.trim()),
        Err(_) => link,
    }
}

/// Follows all links of a path. A path without links is returned unchanged. A relative path stays relative if the
/// result is in the current folder.
fn without_links(path: &Path) -> PathBuf {
    if !path.ancestors().any(Path::is_symlink) {
        return path.to_path_buf();
    }
    let Ok(whole) = path.canonicalize() else {
        return path.to_path_buf();
    };
    if path.is_absolute() {
        return whole;
    }
    let here = std::env::current_dir().and_then(|here| here.canonicalize());
    match here.as_deref().map(|here| whole.strip_prefix(here)) {
        Ok(Ok(inside)) if !inside.as_os_str().is_empty() => inside.to_path_buf(),
        _ => whole,
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// Checks that a run's link is resolved to the checkpoint of its step, and that a path without links is unchanged.
    #[test]
    fn links_are_followed_to_their_step() {
        let root = tempfile::tempdir().unwrap();
        let run = root.path().canonicalize().unwrap().join("run");
        for step in ["step-000001", "step-000002"] {
            std::fs::create_dir_all(run.join(step)).unwrap();
            std::fs::write(run.join(step).join("config.json"), "{}").unwrap();
        }
        symlink("step-000001", run.join("best")).unwrap();
        symlink("run", run.with_file_name("alias")).unwrap();
        let first = resolve(&run).unwrap();
        assert_eq!(first.folder, run.join("step-000001"));
        assert_eq!(first.named, run.join("best"));
        let aliased = run.with_file_name("alias").join("step-000002");
        assert_eq!(
            resolve_checkpoint(&aliased).unwrap(),
            run.join("step-000002")
        );
        std::fs::remove_file(run.join("best")).unwrap();
        symlink("step-000002", run.join("best")).unwrap();
        assert_eq!(
            resolve_checkpoint(&run.join("best")).unwrap(),
            run.join("step-000002")
        );
        assert_eq!(
            resolve_checkpoint(&first.folder).unwrap(),
            run.join("step-000001")
        );
    }
}
