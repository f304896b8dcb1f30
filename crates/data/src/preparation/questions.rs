//! Questions of a dataset's domain.

use std::collections::BTreeMap;
use std::path::Path;

use crate::preparation::prepare::write_durably;
use crate::sources::chat::{ChatTemplate, PromptTemplate};
use crate::sources::record::apart;
use crate::{ChatMessage, DataError, DomainManifest, PrepareConfig, read_questions};

/// Copies the questions of each domain into its folder, and notes their number.
pub(super) fn copy_questions(
    config: &PrepareConfig,
    template: Option<&ChatTemplate>,
    domains: &mut BTreeMap<String, DomainManifest>,
) -> Result<(), DataError> {
    for (name, written) in domains {
        if let Some(path) = &config.domains[name].questions {
            let folder = config.output.join(name);
            written.questions = copy_questions_of(path, &folder, written, template)?;
        }
    }
    Ok(())
}

/// Copies the questions of one domain; returns their number. Questions have the form of the domain's documents, since
/// a model would otherwise be asked in another form than it was trained on: if all documents are prompts with
/// responses, prompt and answer are joined as these records are; if all are conversations, the chat template that
/// rendered them renders the prompt, or the lines `role: content` that they are written as.
fn copy_questions_of(
    path: &Path,
    folder: &Path,
    written: &DomainManifest,
    template: Option<&ChatTemplate>,
) -> Result<u64, DataError> {
    let mut questions = read_questions(path)?;
    let mut bytes = polymath_base::read(path).map_err(DataError::file("read", path))?;
    let notes = &written.notes;
    let are_all = |records: u64| records > 0 && records + written.empty_dropped >= written.read;
    let template = if are_all(notes.templated) {
        template.map(PromptTemplate::undated)
    } else if are_all(notes.plain_conversations) {
        Some(PromptTemplate::plain()?)
    } else {
        None
    };
    if template.is_some() || notes.parted_pairs > 0 && are_all(notes.pairs) {
        bytes.clear();
        for question in &mut questions {
            question.prompt = match &template {
                Some(template) => template
                    .prompt(&[ChatMessage::new("user", &question.prompt)])
                    .map_err(|message| DataError::content(path, message))?,
                None => apart(&question.prompt, &question.answer),
            };
            let line = serde_json::to_string(question);
            let line = line.map_err(|error| DataError::content(path, error.to_string()))?;
            bytes.extend_from_slice((line + "\n").as_bytes());
        }
    }
    write_durably(&folder.join("questions.jsonl"), &bytes)?;
    Ok(questions.len() as u64)
}
