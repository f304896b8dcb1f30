//! Location of paths that a run recorded, from any working directory.
//!
//! A config's relative paths start from the folder that the command was given in. Runs record them as they are: short,
//! and readable by other programs. [`project_of`] finds that folder again from the place of the run, so that the whole
//! project may move.

use std::path::{Component, Path, PathBuf};

/// Returns the folder from which the relative paths in the files of the run folder `run` start: the path of the run
/// folder without the end that its own `run.toml` gives. Returns `None` if that path is absolute, or if the run's
/// folder was renamed.
pub fn project_of(run: &Path) -> Option<PathBuf> {
    let table: toml::Table = crate::saved_config(run)?;
    let named = PathBuf::from(table.get("run")?.as_str()?);
    if named.is_absolute() {
        return None;
    }
    let mut project = run.canonicalize().ok()?;
    for part in named.components().rev() {
        match part {
            Component::Normal(name) if project.file_name() == Some(name) => {
                project.pop();
            }
            Component::CurDir => {}
            _ => return None,
        }
    }
    Some(project)
}

/// Returns the present location of the path `recorded` in the files of the run or checkpoint `folder`. Looks in the
/// run's project folder ([`project_of`]), then in the working directory, then in the nearest folder above that contains
/// it. Returns the path unchanged if it is absolute or is found nowhere.
pub fn locate(recorded: &Path, folder: &Path) -> PathBuf {
    let as_written = recorded.to_path_buf();
    let Ok(folder) = folder.canonicalize() else {
        return as_written;
    };
    if recorded.is_absolute() {
        return as_written;
    }
    let project = (folder.ancestors().take(2)).find_map(project_of);
    let here = std::env::current_dir().and_then(|here| here.canonicalize());
    let is_here = |place: &Path| here.as_ref().is_ok_and(|here| here == place);
    if let Some(project) = project.filter(|project| !is_here(project)) {
        let found = project.join(recorded);
        if found.exists() {
            return found;
        }
    }
    if recorded.exists() {
        return as_written;
    }
    let mut above = folder.ancestors().skip(1).map(|place| place.join(recorded));
    above.find(|found| found.exists()).unwrap_or(as_written)
}

/// Returns true if two paths name the same entry of the same folder, even if they are spelled differently. A link is
/// not followed, since it may move.
pub fn is_same_place(one: &Path, other: &Path) -> bool {
    let place = |path: &Path| {
        let whole = std::path::absolute(path).ok()?;
        let (folder, name) = (whole.parent()?, whole.file_name()?);
        Some(folder.canonicalize().ok()?.join(name))
    };
    one == other || place(one).is_some_and(|one| place(other) == Some(one))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes a file, and creates the folders above it, for a test.
    fn write(path: &Path, text: &str) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// Checks that a recorded path is found in the run's own project, although another project with the same folders is
    /// nearer to the working directory, and also after the project has moved.
    #[test]
    fn recorded_paths_are_found_in_the_project_of_the_run() {
        let root = tempfile::tempdir().unwrap();
        let at = root.path().canonicalize().unwrap().join("first");
        let run = at.join("runs/full");
        write(&run.join("run.toml"), "run = \"./runs/full\"");
        write(&run.join("step-000003/state.json"), "{}");
        write(&at.join("runs/base/best/config.json"), "{}");
        assert_eq!(project_of(&run), Some(at.clone()));
        let base = Path::new("runs/base/best");
        // A folder of this name is in the working directory of the test too.
        let near = Path::new("src");
        write(&at.join(near).join("text"), "");
        assert!(near.exists());
        for folder in [run.clone(), run.join("step-000003")] {
            assert_eq!(locate(base, &folder), at.join(base));
            assert_eq!(locate(near, &folder), at.join(near));
        }
        let moved = root.path().canonicalize().unwrap().join("second");
        std::fs::rename(&at, &moved).unwrap();
        assert_eq!(locate(base, &moved.join("runs/full")), moved.join(base));
        // A path that leads nowhere stays as it is written: it may be a name on the hub.
        let elsewhere = Path::new("owner/name");
        assert_eq!(locate(elsewhere, &moved.join("runs/full")), elsewhere);
    }

    /// Checks that two spellings of a path count as the same place, but a link and its target do not.
    #[cfg(unix)]
    #[test]
    fn a_place_has_many_spellings() {
        let root = tempfile::tempdir().unwrap();
        let at = root.path();
        write(&at.join("runs/step/config.json"), "{}");
        std::os::unix::fs::symlink("step", at.join("runs/best")).unwrap();
        let same = |one: &str, other: &str| is_same_place(&at.join(one), &at.join(other));
        assert!(same("runs/best", "./runs/../runs/best/"));
        assert!(!same("runs/best", "runs/step") && !same("runs/best", "best"));
    }

    /// Checks that for a renamed run, and for a run without a relative path, recorded paths are found in the folders
    /// above it.
    #[test]
    fn renamed_runs_look_in_the_folders_above() {
        let root = tempfile::tempdir().unwrap();
        let at = root.path().canonicalize().unwrap();
        for (name, written) in [("kept", "runs/full"), ("other", "/gone/runs/other")] {
            let run = at.join("runs").join(name);
            write(&run.join("run.toml"), &format!("run = \"{written}\""));
            write(&at.join("data/dataset.json"), "{}");
            assert_eq!(project_of(&run), None);
            assert_eq!(locate(Path::new("data"), &run), at.join("data"));
        }
    }
}
