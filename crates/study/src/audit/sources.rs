//! Models of an audit: folders, run folders, names on the hub, and GGUF files.

use std::path::Path;

use polymath_train::{Resolved, resolve, sha256_of};

use crate::StudyError;
use crate::model_files::{import_once, is_gguf};

/// Name of the folder for imported models, in the audit's folder.
const IMPORTED: &str = "imported";

/// Model of an audit: its name as given by the user, and its folder.
pub(super) struct Opened {
    /// Path or name that the user gave.
    pub named: String,
    /// Name of the model on the hub; `None` for a local model.
    pub published: Option<String>,
    /// Folder of the model, and of its run if it has one.
    pub run: Resolved,
}

impl Opened {
    /// Finds the folder of the model that the user named.
    ///
    /// # Errors
    /// Fails if the model can't be found, downloaded or imported.
    pub fn of(path: &Path, audit: &Path) -> Result<Self, StudyError> {
        let run = open(path, audit)?;
        let published = polymath_train::published(path, &run.folder);
        Ok(Self {
            named: path.display().to_string(),
            published: published.map(|base| base.name),
            run,
        })
    }
}

/// Resolves the path of a model to its folder. A GGUF file is imported into the audit's folder first, unless a file
/// with the same content was imported there before.
fn open(path: &Path, audit: &Path) -> Result<Resolved, StudyError> {
    if !is_gguf(path) {
        return Ok(resolve(path)?);
    }
    let digest = sha256_of(path)?;
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let folder = audit.join(IMPORTED);
    std::fs::create_dir_all(&folder).map_err(StudyError::file(&folder))?;
    let model = folder.join(format!("{stem}-{}", &digest[..12]));
    import_once(path, &model)?;
    Ok(resolve(&model)?)
}
