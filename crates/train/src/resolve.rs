//! Resolves the path of a checkpoint to the folder that it leads to now.
//!
//! `best` and `latest` are links that a run moves. A command that opened its files through such a link one after the other
//! could read two checkpoints, and a run that kept the link could go on from another base than it began with. So a path is
//! resolved once, to a folder whose content does not change.

use std::path::{Path, PathBuf};

use polymath_hub::{HubError, Repository};
use polymath_model::NamedBase;

use crate::TrainError;
use crate::checkpoint::{STATE, verify};

/// Attempts to resolve a link that moves meanwhile. A run moves its links seconds apart.
const ATTEMPTS: usize = 5;

/// A checkpoint that a path means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The folder, with no link on the way: `checkpoints/small/step-000500`.
    pub folder: PathBuf,
    /// The checkpoint as a person calls it: `checkpoints/small/best`.
    pub named: PathBuf,
}

impl Resolved {
    /// The path itself: one that leads to no checkpoint is explained by whoever opens it.
    fn as_given(path: &Path) -> Self {
        Self {
            folder: path.to_path_buf(),
            named: path.to_path_buf(),
        }
    }
}

/// Returns the folder of the checkpoint that a path means; see [`resolve`].
///
/// # Errors
/// As [`resolve`].
pub fn resolve_checkpoint(path: &Path) -> Result<PathBuf, TrainError> {
    Ok(resolve(path)?.folder)
}

/// Resolves the checkpoint that a path means: a model folder itself, or the best (else the latest) one of a run folder;
/// where nothing of that name is here, `owner/name[@revision]` is a model of the Hugging Face hub, which is downloaded into
/// its cache. Links are followed once: what they lead to later makes no difference. A checkpoint that this program wrote
/// is verified first.
///
/// # Errors
/// A checkpoint that was altered; a model that the hub does not give.
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
        // A run that goes on may have removed the checkpoint while it was read, and moved its link to another.
        let now = follow(path)?;
        if now == found {
            return checked.map(|()| found);
        }
        found = now;
    }
    check(&found.folder).map(|()| found)
}

/// Verifies a checkpoint that this program wrote.
fn check(folder: &Path) -> Result<(), TrainError> {
    match is_file(&folder.join(STATE))? {
        true => verify(folder).map(drop),
        false => Ok(()),
    }
}

/// Returns the model of a repository in the hub's cache; what is no model that can be read is refused before its weights
/// are downloaded.
fn download(repository: &Repository) -> Result<PathBuf, HubError> {
    polymath_hub::model_folder(repository, &|folder| {
        match polymath_model::is_adapter(folder) {
            true => polymath_model::named_base(folder).map(drop),
            false => polymath_model::load_config(folder).map(drop),
        }
        .map_err(|error| error.to_string())
    })
}

/// Returns the base that the adapter in `folder` is computed over: the checkpoint that `given` means, else the one that the
/// adapter names, here or on the hub; `None` for what is no adapter, and where what the adapter names is not to be found.
///
/// # Errors
/// As [`resolve`].
pub fn resolve_base(folder: &Path, given: Option<&Path>) -> Result<Option<PathBuf>, TrainError> {
    if !polymath_model::is_adapter(folder) {
        return Ok(None);
    }
    if let Some(given) = given {
        return resolve_checkpoint(given).map(Some);
    }
    let named = polymath_model::named_base(folder)?;
    let here = Path::new(&named.name);
    if polymath_files::exists(here).map_err(TrainError::file("look up", here))? {
        return resolve_checkpoint(here).map(Some);
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

/// Returns what a checkpoint is called on the hub, if `path`, which was resolved to `folder`, is its name there: the commit
/// that was taken goes with it.
pub fn published(path: &Path, folder: &Path) -> Option<NamedBase> {
    let repository = on_the_hub(path)?;
    let commit = folder.file_name()?.to_str()?;
    Some(NamedBase {
        name: repository.id(),
        revision: Some(commit.to_owned()),
    })
}

/// Returns the repository that a path can only mean: it has its form, and not even the folder that it would be in is here.
fn on_the_hub(path: &Path) -> Option<Repository> {
    let repository = Repository::parse(path.to_str()?)?;
    let parent = path.parent().unwrap_or(path);
    (!path.exists() && !parent.exists()).then_some(repository)
}

fn is_file(path: &Path) -> Result<bool, TrainError> {
    polymath_files::is_file(path).map_err(TrainError::file("look up", path))
}

/// Returns the checkpoint that a path leads to now. A candidate that can't be looked up is not passed over for the next.
///
/// # Errors
/// The system's own.
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

/// Returns the link `name` of a run; where links can't be made, it is a text file that names the checkpoint.
fn link_target(run: &Path, name: &str) -> PathBuf {
    let link = run.join(name);
    match polymath_files::read_to_string(&link) {
        Ok(target) => run.join(target.trim()),
        Err(_) => link,
    }
}

/// Returns where a path leads with all links followed; a path without links stays as it is written, and one that was
/// relative stays so within the current folder.
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

    /// A run's link is followed to its step once, and a path without links stays as it is.
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
