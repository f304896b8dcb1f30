//! Tuning: one call from a base and text to a model to talk with.
//!
//! Each step is an ordinary one: the base is downloaded or imported, the text prepared, the model fine-tuned and
//! reported on, an adapter merged, a GGUF file exported. The configs of the steps are written beside the run, so that a
//! person can go on from there with the ordinary commands. A step that is done is skipped, so that the same call goes
//! on after a stop.
//!
//! `request` checks the request, `settings` parts its settings, `folder` names the files, `base` opens or imports the
//! base, `configs` writes the configs, `steps` runs the steps, and `ending` writes the files of the model.

mod base;
mod configs;
mod ending;
mod folder;
mod request;
mod settings;
mod steps;

pub use ending::{ModelFiles, TuneEnd, ollama_name};
pub use folder::TuneFolder;
pub use request::TuneRequest;
pub use steps::{Inspected, TuneRunner};

use std::path::{Path, PathBuf};

use polymath_base::Lock;
use polymath_data::Dataset;
use polymath_finetune::new_niche_name;

use crate::StudyError;
use folder::Record;
use request::Retained;

/// Tuning, opened: its request is valid, and its folder is new or was begun by the same request.
pub struct Tune {
    request: TuneRequest,
    retained: Retained,
    folder: TuneFolder,
    record: Record,
    /// True if the folder was begun before.
    begun: bool,
}

impl Tune {
    /// Checks the request, and that `output` is new or was begun with the same request. Writes nothing.
    ///
    /// # Errors
    /// Fails if an argument is at fault, or the folder holds something else or another request.
    pub fn open(mut request: TuneRequest, output: Option<PathBuf>) -> Result<Self, StudyError> {
        request.take_method()?;
        let output = output.unwrap_or_else(|| request.default_output());
        let folder = TuneFolder::at(&output);
        let before = folder.record()?;
        request.check()?;
        let retained = request.retained()?;
        let domain = match &before {
            Some(before) if folder.has_data() => before.domain.clone(),
            _ => niche_name(&request, &retained)?,
        };
        let gguf = request.is_gguf().then(|| Path::new(&request.base));
        let sha256 =
            gguf.map(|path| polymath_base::sha256_of_file(path).map_err(StudyError::file(path)));
        let record = Record {
            domain,
            gguf_sha256: sha256.transpose()?,
            request: request.clone(),
        };
        if let Some(before) = &before {
            before.check_same(&record, &folder)?;
        }
        Ok(Self {
            begun: before.is_some(),
            request,
            retained,
            folder,
            record,
        })
    }

    /// Returns the folder of the tuning.
    pub fn folder(&self) -> &TuneFolder {
        &self.folder
    }

    /// Returns the request of the tuning.
    pub fn request(&self) -> &TuneRequest {
        &self.request
    }

    /// Returns the name of the niche.
    pub fn niche(&self) -> &str {
        &self.record.domain
    }

    /// Locks the folder, and records the request in a new one.
    fn claim(&self) -> Result<Lock, StudyError> {
        let lock = self.folder.claim()?;
        // Another process may have begun here before this one got the lock.
        match self.folder.record()? {
            Some(before) => {
                before.check_same(&self.record, &self.folder)?;
                if before != self.record {
                    self.folder.begin(&self.record)?;
                }
            }
            None => self.folder.begin(&self.record)?,
        }
        Ok(lock)
    }
}

/// Returns a name for the niche that no domain of the base or of the retained dataset has.
fn niche_name(request: &TuneRequest, retained: &Retained) -> Result<String, StudyError> {
    let dataset = match retained {
        Retained::Dataset(path) => Some(Dataset::open(path).map_err(StudyError::refused)?),
        Retained::Nothing | Retained::Texts(_) => None,
    };
    let taken = dataset
        .as_ref()
        .map_or_else(Vec::new, Dataset::domain_names);
    // A GGUF file has no lineage.
    let base = (!request.is_gguf()).then(|| Path::new(&request.base));
    new_niche_name(&request.data, base, &taken).map_err(StudyError::refused)
}
