//! Text, questions and tasks that the program brings along for audits, and their files on disk.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use polymath_data::Task;
use polymath_data::audit_set::{AuditDomain, AuditSet, audit_set};
use polymath_report::audit::BundledText;
use serde_json::json;

use crate::StudyError;

/// Name of the domain whose dataset holds the questions with exact answers.
const ASKING: &str = "encyclopedia";

/// Maximum length of a bundled document in bytes. A verdict depends on the number of documents more than on their
/// length, so the beginnings of many cost less than a few whole ones.
const EXCERPT: usize = 500;
/// Number of tokens that a domain may score for each of its documents: more than an excerpt has, so that all fit.
const TOKENS_OF_EXCERPT: u64 = 250;

/// Bundled content and its identity.
pub(super) struct Bundled {
    pub identity: BundledText,
    pub set: AuditSet,
}

/// Files of a bundled domain on disk.
pub(super) struct DomainFiles {
    pub name: &'static str,
    pub documents: PathBuf,
    /// File of questions with exact answers; `None` for a domain without questions.
    pub questions: Option<PathBuf>,
}

impl Bundled {
    /// Generates the bundled content.
    pub fn read() -> Self {
        let set = audit_set();
        Self {
            identity: BundledText {
                version: set.version,
                sha256: set.sha256.clone(),
            },
            set,
        }
    }

    /// Returns true if a domain has this name.
    pub fn has(&self, name: &str) -> bool {
        self.set.domains.iter().any(|domain| domain.name == name)
    }

    /// Writes the documents and the questions of all domains into `folder`, one record a line: the beginnings of as
    /// many documents as `tokens` suffice for in each domain.
    ///
    /// # Errors
    /// Fails if the folder can't be written.
    pub fn write_domains(
        &self,
        folder: &Path,
        tokens: u64,
    ) -> Result<Vec<DomainFiles>, StudyError> {
        let count = usize::try_from(tokens / TOKENS_OF_EXCERPT).unwrap_or(usize::MAX);
        let write = |domain: &AuditDomain| {
            let documents = domain.documents.iter().take(count.max(1));
            let lines = documents.map(|text| json!({ "text": excerpt(text) }));
            let documents = write_lines(folder, domain.name, lines)?;
            let asked = self.set.questions.iter().map(|question| json!(question));
            let questions = (domain.name == ASKING)
                .then(|| write_lines(folder, &format!("{ASKING}-questions"), asked));
            Ok(DomainFiles {
                name: domain.name,
                documents,
                questions: questions.transpose()?,
            })
        };
        self.set.domains.iter().map(write).collect()
    }

    /// Writes the multiple-choice task into `folder`, in the format of lm-evaluation-harness.
    ///
    /// # Errors
    /// Fails if the folder can't be written.
    pub fn write_task(&self, folder: &Path) -> Result<PathBuf, StudyError> {
        let Task { name, items, .. } = &self.set.choices;
        let lines = items.iter().map(|item| {
            json!({
                "context": item.context,
                "choices": item.choices,
                "answer": item.answer,
                "target_delimiter": item.delimiter,
            })
        });
        write_lines(folder, name, lines)
    }
}

/// Returns the beginning of a text, cut at the end of a line or of a sentence.
fn excerpt(text: &str) -> &str {
    let begin = &text[..text.floor_char_boundary(EXCERPT)];
    if begin.len() == text.len() {
        return text;
    }
    let end = ["\n", ". ", "? ", "! "]
        .iter()
        .filter_map(|mark| begin.rfind(mark));
    begin[..end.max().map_or(begin.len(), |at| at + 1)].trim_end()
}

fn write_lines(
    folder: &Path,
    name: &str,
    records: impl Iterator<Item = serde_json::Value>,
) -> Result<PathBuf, StudyError> {
    std::fs::create_dir_all(folder).map_err(StudyError::file(folder))?;
    let mut lines = String::new();
    for record in records {
        writeln!(lines, "{record}").expect("a string has room");
    }
    let path = folder.join(format!("{name}.jsonl"));
    polymath_base::write(&path, lines.as_bytes()).map_err(StudyError::file(&path))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that an excerpt is the beginning of its text, ends with a line or a sentence, and is never cut within a
    /// letter.
    #[test]
    fn an_excerpt_ends_with_a_sentence() {
        assert_eq!(excerpt("Short."), "Short.");
        let sentences = "It is written in many words. ".repeat(30);
        let cut = excerpt(&sentences);
        assert_eq!(cut.len(), 17 * 29 - 1);
        assert!(sentences.starts_with(cut) && cut.ends_with("words."));
        let lines = "a = 1\n".repeat(200);
        assert!(excerpt(&lines).ends_with("a = 1"));
        let letters = "ä".repeat(400);
        assert_eq!(excerpt(&format!("a{letters}")).len(), 499);
    }

    /// Checks that a domain has a document for each 250 of its tokens, at least one, and at most all.
    #[test]
    fn more_tokens_mean_more_documents() {
        let folder = tempfile::tempdir().unwrap();
        let bundled = Bundled::read();
        for (tokens, documents) in [(100, 1), (6_000, 24), (u64::MAX, 48)] {
            for files in bundled.write_domains(folder.path(), tokens).unwrap() {
                let lines = std::fs::read_to_string(files.documents).unwrap();
                assert_eq!(lines.lines().count(), documents, "{}", files.name);
            }
        }
    }
}
