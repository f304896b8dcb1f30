//! Model files for other programs: an adapter merged into its base, and GGUF.

use std::path::Path;

use polymath_finetune::Lineage;
use polymath_model::{GgufExport, GgufType, ModelError, ModelSource, TokenizerFiles, is_adapter};

use crate::{OutputFolder, StudyError};

/// Returns true if `path` is a file with the extension of GGUF files.
pub(crate) fn is_gguf(path: &Path) -> bool {
    let ending = path.extension();
    path.is_file() && ending.is_some_and(|ending| ending.eq_ignore_ascii_case("gguf"))
}

/// Imports a GGUF file as the model folder `model`, unless the folder has a model already.
///
/// # Errors
/// Fails if the file can't be imported.
pub(crate) fn import_once(gguf: &Path, model: &Path) -> Result<(), StudyError> {
    if model.join("config.json").is_file() {
        return Ok(());
    }
    polymath_model::import_gguf(gguf, model).map_err(StudyError::refused)
}

/// Merges an adapter into its base and writes an ordinary model folder, which must be new.
///
/// # Errors
/// Fails if the folder is not an adapter, its base is not found, or the output exists.
pub fn merge(source: ModelSource, output: &Path) -> Result<(), StudyError> {
    if !is_adapter(source.folder) {
        return Err(StudyError::refused(format!(
            "`{}` is not an adapter: expected a checkpoint of a `lora` or `dora` run, with an `adapter_config.json`",
            source.folder.display()
        )));
    }
    let made = OutputFolder::new(output)?;
    let weights = source.weights().map_err(StudyError::refused)?;
    let config = source.config().map_err(StudyError::refused)?;
    let tokenizer = source.tokenizer().map_err(StudyError::refused)?;
    let tokenizer = TokenizerFiles::read(&tokenizer)?;
    polymath_model::save_weights(made.path(), &config, weights, &tokenizer)?;
    if let Some(lineage) = Lineage::of(source.folder)? {
        lineage.write(made.path())?;
    }
    made.finish()
}

/// Writes a model (an adapter merged into its base) as the new GGUF file `file`, with its chat template. Returns notes
/// for the user, one sentence each.
///
/// # Errors
/// Fails if the file exists, or llama.cpp does not know the family, the tokenizer or the shape.
pub fn write_gguf(
    source: ModelSource,
    file: &Path,
    kind: GgufType,
) -> Result<Vec<String>, StudyError> {
    let tokenizer = source.tokenizer().map_err(StudyError::refused)?;
    let template = polymath_data::chat_template(&tokenizer).map_err(StudyError::refused)?;
    let options = GgufExport {
        kind,
        chat_template: template.as_deref(),
        base: source.base,
    };
    polymath_model::export_gguf(source.folder, file, &options).map_err(|error| match error {
        ModelError::File { .. } => StudyError::Model(error),
        unfit => StudyError::refused(unfit),
    })
}
