//! The folder that a command makes: filled beside its place, and moved there when all of it is on the disk.

use std::path::{Path, PathBuf};

use polymath_files::StagedFolder;

use crate::StudyError;

/// Files of a model folder and of the results that are made anew in one.
const OWN: [&str; 16] = [
    "adapter_config.json",
    "adapter_model.safetensors",
    "added_tokens.json",
    "base.toml",
    "chat_template.jinja",
    "config.json",
    "generation_config.json",
    "interpolation.json",
    "interpolation.md",
    "model.safetensors",
    "revert.html",
    "revert.json",
    "revert.md",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
];

/// A folder under way; dropped before [`Self::finish`], it leaves nothing behind.
pub struct OutputFolder {
    target: PathBuf,
    staged: StagedFolder,
}

impl OutputFolder {
    /// Claims a folder that must be new or empty.
    ///
    /// # Errors
    /// It holds files, or can't be made.
    pub fn new(target: &Path) -> Result<Self, StudyError> {
        if target.is_file() || target.is_dir() && first_other(target, &[])?.is_some() {
            return Err(refused(format!(
                "`{}` is already there: choose another `--output`",
                target.display()
            )));
        }
        Self::stage(target)
    }

    /// Claims a folder that must be new, empty, or hold an earlier result of the same command, which the file `own` tells and
    /// which is replaced.
    ///
    /// # Errors
    /// It holds something else, or can't be made.
    pub fn again(target: &Path, own: &str) -> Result<Self, StudyError> {
        let result = target.join(own).is_file();
        let allowed: &[&str] = if result { &OWN } else { &[] };
        if target.is_dir()
            && let Some(other) = first_other(target, allowed)?
        {
            if result {
                return Err(refused(format!(
                    "`{}` holds `{other}` beside an earlier result, which would be lost: move it, or choose another \
                     `--output`",
                    target.display()
                )));
            }
            return Err(refused(format!(
                "`{}` holds files but no earlier result (`{own}`): choose another `--output`",
                target.display()
            )));
        }
        Self::stage(target)
    }

    fn stage(target: &Path) -> Result<Self, StudyError> {
        let failed = |error: std::io::Error| {
            refused(format!(
                "can't make the folder `{}`: {error}",
                target.display()
            ))
        };
        // A link stays; what it points to is made.
        let target = match target.canonicalize() {
            Ok(found) => found,
            Err(_) => target.to_path_buf(),
        };
        if let Some(parent) = target.parent() {
            std::fs::create_dir_all(parent).map_err(failed)?;
        }
        let staged = StagedFolder::create(&target).map_err(failed)?;
        Ok(Self { target, staged })
    }

    /// The folder to fill.
    pub fn path(&self) -> &Path {
        self.staged.path()
    }

    /// Moves it into its place.
    ///
    /// # Errors
    /// A full disk; something that came there meanwhile.
    pub fn finish(self) -> Result<(), StudyError> {
        let moved = match self.target.is_dir() {
            true => self.staged.replace(),
            false => self.staged.commit_new(),
        };
        moved.map_err(|error| {
            let target = self.target.display();
            StudyError::Config(format!("can't move `{target}` into place: {error}"))
        })
    }
}

/// The name of a file in `folder` that is none of `allowed`.
fn first_other(folder: &Path, allowed: &[&str]) -> Result<Option<String>, StudyError> {
    let entries = std::fs::read_dir(folder).map_err(StudyError::file(folder))?;
    for entry in entries {
        let entry = entry.map_err(StudyError::file(folder))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !allowed.contains(&&*name) {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

fn refused(reason: String) -> StudyError {
    StudyError::refused(reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A claimed folder appears whole; a stranger's file in its place is never touched.
    #[test]
    fn results_replace_only_results() {
        let root = tempfile::tempdir().unwrap();
        let target = root.path().join("out");
        let make = |text: &str| -> Result<(), StudyError> {
            let output = OutputFolder::again(&target, "revert.json")?;
            std::fs::write(output.path().join("config.json"), text).unwrap();
            assert_ne!(
                std::fs::read_to_string(target.join("config.json")).unwrap_or_default(),
                text
            );
            std::fs::write(output.path().join("revert.json"), text).unwrap();
            output.finish()
        };
        make("1").unwrap();
        make("2").unwrap();
        assert_eq!(
            std::fs::read_to_string(target.join("config.json")).unwrap(),
            "2"
        );
        assert!(OutputFolder::new(&target).is_err());
        std::fs::write(target.join("notes.txt"), "precious").unwrap();
        assert!(make("3").unwrap_err().to_string().contains("`notes.txt`"));
        assert_eq!(
            std::fs::read_to_string(target.join("notes.txt")).unwrap(),
            "precious"
        );
        drop(OutputFolder::new(&root.path().join("dropped")).unwrap());
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 1);
    }
}
