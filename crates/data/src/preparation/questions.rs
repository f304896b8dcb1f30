//! Questions of a dataset's domain.

use std::path::Path;

use polymath_tokenizer::EndTokens;

use crate::preparation::encode::Encoder;
use crate::preparation::prepare::write_durably;
use crate::sources::chat::PromptTemplate;
use crate::sources::record::apart;
use crate::{ChatMessage, DataError, DomainManifest, PrepareConfig, read_questions};

/// Function that opens the dataset's chat template; it returns `None` if there is none.
type OpenTemplate<'a> = &'a dyn Fn() -> Result<Option<PromptTemplate>, DataError>;

/// Copies the questions of a domain into its folder; returns their number. Questions have the form of the domain's
/// documents, since a model would otherwise be asked in another form than it was trained on: if all documents are
/// prompts with responses, prompt and answer are joined as these records are; if all are conversations, the chat
/// template renders the prompt.
pub(super) fn copy_questions(
    path: &Path,
    folder: &Path,
    written: &DomainManifest,
    template: OpenTemplate,
) -> Result<u64, DataError> {
    let mut questions = read_questions(path)?;
    let mut bytes = polymath_base::read(path).map_err(DataError::file("read", path))?;
    let notes = &written.notes;
    let are_all = |records: u64| records > 0 && records + written.empty_dropped >= written.read;
    let template = match are_all(notes.templated) {
        true => template()?,
        false => None,
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

impl Encoder {
    /// Opens the chat template that rendered the conversations of a dataset; `None` if there is none.
    pub(super) fn template(
        &self,
        config: &PrepareConfig,
    ) -> Result<Option<PromptTemplate>, DataError> {
        let Some(path) = &config.tokenizer.path else {
            return Ok(None);
        };
        let ends = EndTokens {
            begin: self.begin,
            end: self.end,
        };
        PromptTemplate::open_undated(path, &self.tokenizer, ends)
    }
}
