//! Base of a tuning: a model folder, a run, a model on the hub, or a GGUF file, which is imported.

use std::path::{Path, PathBuf};

use polymath_model::is_adapter;
use polymath_train::resolve_checkpoint;

use super::TuneRequest;
use super::request::refused;
use crate::StudyError;
use crate::model_files::import_once;

/// Base of a tuning, opened.
#[derive(Debug, Clone)]
pub(super) struct TuneBase {
    /// Name for the config: as the user requested it, or the folder of the imported GGUF file.
    pub named: String,
    /// Path of the base's `tokenizer.json`.
    pub tokenizer: PathBuf,
    /// Token that begins a document.
    pub begin: String,
    /// Token that ends a document.
    pub end: String,
    /// True if it has a chat template.
    pub has_template: bool,
    /// Datasets that the base was trained on, if it is a run of this program and they still exist.
    pub own_datasets: Vec<PathBuf>,
}

impl TuneBase {
    /// Opens the base, downloading or importing it where needed; `imported` is the folder of an imported GGUF file.
    ///
    /// # Errors
    /// Fails if the base can't be read or is an adapter.
    pub fn open(request: &TuneRequest, imported: &Path) -> Result<Self, StudyError> {
        let named = match request.is_gguf() {
            true => {
                import_once(Path::new(&request.base), imported)?;
                imported.display().to_string()
            }
            false => request.base.clone(),
        };
        let folder = resolve_checkpoint(Path::new(&named)).map_err(StudyError::refused)?;
        if is_adapter(&folder) {
            return Err(refused(format!(
                "the base `{named}` is an adapter: merge it first with `polymath merge {named} -o <folder>`, and give \
                 that folder"
            )));
        }
        let config = polymath_model::load_config(&folder).map_err(StudyError::refused)?;
        let tokenizer = polymath_model::tokenizer_in(&folder).map_err(StudyError::refused)?;
        let vocabulary = polymath_tokenizer::open(&tokenizer).map_err(StudyError::refused)?;
        let token = |id: u32| {
            vocabulary.id_to_token(id).ok_or_else(|| {
                refused(format!(
                    "`{}` has no token {id}, which the config of `{named}` names: they do not belong together",
                    tokenizer.display()
                ))
            })
        };
        let mut own_datasets =
            polymath_finetune::datasets_of(&folder).map_err(StudyError::refused)?;
        own_datasets.retain(|dataset| dataset.join("dataset.json").is_file());
        Ok(Self {
            has_template: has_template(&tokenizer)?,
            own_datasets,
            begin: token(config.bos_token_id)?,
            end: token(config.eos_token_id)?,
            named,
            tokenizer,
        })
    }
}

/// Returns true if the tokenizer at `tokenizer` has a chat template.
pub(super) fn has_template(tokenizer: &Path) -> Result<bool, StudyError> {
    let template = polymath_data::chat_template(tokenizer).map_err(StudyError::refused)?;
    Ok(template.is_some())
}
