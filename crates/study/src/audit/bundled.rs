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

    /// Writes the documents and the questions of all domains into `folder`, one record a line.
    ///
    /// # Errors
    /// Fails if the folder can't be written.
    pub fn write_domains(&self, folder: &Path) -> Result<Vec<DomainFiles>, StudyError> {
        let write = |domain: &AuditDomain| {
            let lines = domain.documents.iter().map(|text| json!({ "text": text }));
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
