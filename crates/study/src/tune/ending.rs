//! Files of the tuned model: the link to it, the merged adapter, the GGUF file and Ollama's Modelfile.

use std::path::PathBuf;

use polymath_finetune::retention::LimitsVerdict;
use polymath_model::{GgufType, ModelSource};
use polymath_report::ForgettingReport;

use super::folder::write;
use super::{TuneFolder, TuneRequest};
use crate::{StudyError, merge, write_gguf};

/// Link to the tuned model, by which the folder is opened like a run folder.
const LINK: &str = "best";

/// Result of a tuning.
pub struct TuneEnd {
    /// Base as the configs name it.
    pub base: String,
    /// Verdict on the forgetting limits, if the request retains text.
    pub verdict: Option<LimitsVerdict>,
    /// Report on what was gained and forgotten.
    pub report: ForgettingReport,
    /// Page of the report.
    pub page: PathBuf,
    /// Files of the model.
    pub files: ModelFiles,
    /// True if the base has a chat template.
    pub has_template: bool,
    /// True if no text was retained, and text that the base generated stood for it.
    pub has_no_text: bool,
}

/// Files of the tuned model.
#[derive(Debug, Clone)]
pub struct ModelFiles {
    /// Model folder: a checkpoint of the run, or the merged adapter.
    pub model: PathBuf,
    /// GGUF file and its Modelfile; else the reason why the model can't be a GGUF file.
    pub gguf: Result<PathBuf, String>,
    /// Notes on the GGUF file, one sentence each.
    pub notes: Vec<String>,
}

/// Writes the files that are not there.
pub(super) fn write_files(
    folder: &TuneFolder,
    request: &TuneRequest,
    tuned: ModelSource,
) -> Result<ModelFiles, StudyError> {
    let model = match request.method.adapts() {
        true => {
            let merged = folder.merged();
            if !merged.join("config.json").is_file() {
                merge(tuned, &merged)?;
            }
            merged
        }
        false => tuned.folder.to_path_buf(),
    };
    let target = super::steps::relative(folder, &model);
    polymath_train::point(folder.root(), LINK, &target.to_string_lossy())?;
    let file = folder.gguf();
    let mut notes = Vec::new();
    let gguf = match file.is_file() {
        true => Ok(file.clone()),
        // A family or a tokenizer that llama.cpp does not know is no reason to lose the rest.
        false => match write_gguf(ModelSource::of(&model), &file, GgufType::Q8_0) {
            Ok(said) => {
                notes = said;
                Ok(file.clone())
            }
            Err(error) if error.is_refusal() => Err(error.to_string()),
            Err(error) => return Err(error),
        },
    };
    if gguf.is_ok() && !folder.modelfile().is_file() {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let text = format!(
            "# ollama create {} -f {}\nFROM ./{name}\n",
            ollama_name(folder),
            folder.modelfile().display()
        );
        write(&folder.modelfile(), &text)?;
    }
    Ok(ModelFiles { model, gguf, notes })
}

/// Returns the name of the model for Ollama: that of the folder, in small letters.
pub fn ollama_name(folder: &TuneFolder) -> String {
    let fitting = |letter: char| match letter.is_ascii_alphanumeric() || "-_.".contains(letter) {
        true => letter.to_ascii_lowercase(),
        false => '-',
    };
    let name: String = folder.name().chars().map(fitting).collect();
    match name.trim_start_matches(|letter: char| !letter.is_ascii_alphanumeric()) {
        "" => "model".into(),
        name => name.to_owned(),
    }
}
