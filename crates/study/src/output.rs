//! Output folder of a command: written to a temporary folder beside its target and moved there once it is complete.

use std::path::{Path, PathBuf};

use polymath_base::StagedFolder;

use crate::StudyError;

/// Names of files that a repeated command may replace: model files and results. `revert.*` are earlier names of
/// `reset.*`.
const OWN: [&str; 20] = [
    "adapter_config.json",
    "adapter_model.safetensors",
    "added_tokens.json",
    "additional_chat_templates",
    "base.toml",
    "chat_template.jinja",
    "config.json",
    "generation_config.json",
    "interpolation.json",
    "interpolation.md",
    "model.safetensors",
    "reset.html",
    "reset.json",
    "reset.md",
    "revert.html",
    "revert.json",
    "revert.md",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
];

/// Output folder that is being written. If it is dropped before [`Self::finish`], nothing is left behind.
pub struct OutputFolder {
    target: PathBuf,
    staged: StagedFolder,
}

impl OutputFolder {
    /// Starts a folder whose target must be new or empty.
    ///
    /// # Errors
    /// Fails if the target holds files, or if the folder can't be created.
    pub fn new(target: &Path) -> Result<Self, StudyError> {
        if target.is_file() || target.is_dir() && first_other(target, &[])?.is_some() {
            return Err(refused(format!(
                "`{}` is already there: choose another `--output`",
                target.display()
            )));
        }
        Self::stage(target)
    }

    /// Starts a folder whose target must be new, empty, or hold an earlier result of the same command, which has one
    /// of the files `own`. The earlier result is replaced.
    ///
    /// # Errors
    /// Fails if the target holds other files, or if the folder can't be created.
    pub fn again(target: &Path, own: &[&str]) -> Result<Self, StudyError> {
        let result = own.iter().any(|name| target.join(name).is_file());
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
                "`{}` holds files but no earlier result (`{}`): choose another `--output`",
                target.display(),
                own[0]
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
        // A symbolic link stays; the folder that it points to is replaced.
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

    /// Returns the temporary folder to write to.
    pub fn path(&self) -> &Path {
        self.staged.path()
    }

    /// Moves the folder to its target.
    ///
    /// # Errors
    /// Fails if the disk is full, or if other files appeared at the target meanwhile.
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

/// Returns the name of a file in `folder` that is not in `allowed`, if any.
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

    /// Checks that an output folder appears complete, and that other files at the target are never changed.
    #[test]
    fn results_replace_only_results() {
        let root = tempfile::tempdir().unwrap();
        let target = root.path().join("out");
        let make = |text: &str, name: &str| -> Result<(), StudyError> {
            let output = OutputFolder::again(&target, &["reset.json", "revert.json"])?;
            std::fs::write(output.path().join("config.json"), text).unwrap();
            assert_ne!(
                std::fs::read_to_string(target.join("config.json")).unwrap_or_default(),
                text
            );
            std::fs::write(output.path().join(name), text).unwrap();
            output.finish()
        };
        // The second result replaces one with the file name of an earlier version.
        make("1", "revert.json").unwrap();
        make("2", "reset.json").unwrap();
        assert!(!target.join("revert.json").exists());
        assert_eq!(
            std::fs::read_to_string(target.join("config.json")).unwrap(),
            "2"
        );
        assert!(OutputFolder::new(&target).is_err());
        std::fs::write(target.join("notes.txt"), "precious").unwrap();
        assert!(
            make("3", "reset.json")
                .unwrap_err()
                .to_string()
                .contains("`notes.txt`")
        );
        assert_eq!(
            std::fs::read_to_string(target.join("notes.txt")).unwrap(),
            "precious"
        );
        drop(OutputFolder::new(&root.path().join("dropped")).unwrap());
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 1);
    }

    /// Checks that each file that a command of this kind writes, also in an earlier version, is replaced with the rest.
    #[test]
    fn every_file_of_a_result_is_replaced() {
        let root = tempfile::tempdir().unwrap();
        for (number, name) in [
            "adapter_config.json",
            "adapter_model.safetensors",
            "added_tokens.json",
            "additional_chat_templates",
            "base.toml",
            "chat_template.jinja",
            "config.json",
            "generation_config.json",
            "interpolation.md",
            "model.safetensors",
            "reset.html",
            "reset.json",
            "reset.md",
            "revert.html",
            "revert.json",
            "revert.md",
            "special_tokens_map.json",
            "tokenizer.json",
            "tokenizer_config.json",
        ]
        .iter()
        .enumerate()
        {
            let target = root.path().join(number.to_string());
            std::fs::create_dir(&target).unwrap();
            for file in ["interpolation.json", *name] {
                std::fs::write(target.join(file), "earlier").unwrap();
            }
            let output = OutputFolder::again(&target, &["interpolation.json"]).unwrap();
            std::fs::write(output.path().join("config.json"), "now").unwrap();
            output.finish().unwrap();
            let left = std::fs::read_dir(&target).unwrap();
            let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
            assert_eq!(left, ["config.json"], "{name}");
        }
    }
}
