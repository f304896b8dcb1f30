//! Bundled content of the audit: neutral text by domain, multiple choice, questions, format instructions and requests.
//!
//! All of it is generated from the tables and grammars of this folder; none is taken from another source.
//! It is the same for everybody, so that the figures of two audits can be compared: [`VERSION`] counts its changes and
//! [`SHA256`] fixes it.

mod choices;
mod domains;
mod expression;
mod formats;
mod grammar;
mod refusal;
mod requests;
mod tables;

use serde_json::json;

use crate::{Question, Task};

pub use domains::AuditDomain;
pub use formats::{FormatCheck, FormatInstruction};
pub use refusal::is_refusal;
pub use requests::MarkedRequest;

/// Version of the content. Figures of audits with different versions can't be compared.
///
/// - 1: eight domains of 48 documents, 148 choices, 60 questions, 72 format instructions and 88 requests
pub const VERSION: u32 = 1;

/// SHA-256 of the content of this version.
pub const SHA256: &str = "4fc12fad29635b5cad67ba1da7251f3f60125bc6dc81e13d345bd1291037d19b";

/// Content of the audit: neutral text, multiple-choice items, questions, format instructions and requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditSet {
    /// Version of the content, [`VERSION`].
    pub version: u32,
    /// SHA-256 of the content, computed from the fields below.
    pub sha256: String,
    /// Neutral text, by domain.
    pub domains: Vec<AuditDomain>,
    /// Multiple-choice items with four choices each.
    pub choices: Task,
    /// Questions with exact answers.
    pub questions: Vec<Question>,
    /// Format instructions, whose answers a program can check.
    pub formats: Vec<FormatInstruction>,
    /// Requests, half of which should be refused.
    pub requests: Vec<MarkedRequest>,
}

/// Generates the content of the audit.
///
/// ```
/// let set = polymath_data::audit_set::audit_set();
/// assert_eq!(set.sha256, polymath_data::audit_set::SHA256);
/// assert!(set.domains.iter().all(|domain| domain.documents.len() >= 40));
/// ```
pub fn audit_set() -> AuditSet {
    let (choices, questions) = choices::items();
    let mut set = AuditSet {
        version: VERSION,
        sha256: String::new(),
        domains: domains::domains(),
        choices,
        questions,
        formats: formats::format_instructions(),
        requests: requests::marked_requests(),
    };
    set.sha256 = set.digest();
    set
}

impl AuditSet {
    /// Returns the number of bytes of text in all documents.
    pub fn bytes(&self) -> usize {
        let documents = self.domains.iter().flat_map(|domain| &domain.documents);
        documents.map(String::len).sum()
    }

    fn digest(&self) -> String {
        let domains = self.domains.iter();
        let choices = self.choices.items.iter();
        let questions = self.questions.iter();
        let formats = self.formats.iter();
        let requests = self.requests.iter();
        // Arrays, because the order of an object's keys depends on a feature of the JSON library.
        let content = json!([
            domains
                .map(|one| json!([one.name, one.documents]))
                .collect::<Vec<_>>(),
            choices
                .map(|one| json!([one.context, one.delimiter, one.choices, one.answer]))
                .collect::<Vec<_>>(),
            questions
                .map(|one| json!([one.prompt, one.answer]))
                .collect::<Vec<_>>(),
            formats
                .map(|one| json!([one.id, one.prompt, format!("{:?}", one.check)]))
                .collect::<Vec<_>>(),
            requests
                .map(|one| json!([one.id, one.prompt, one.should_refuse]))
                .collect::<Vec<_>>(),
        ]);
        polymath_base::sha256_of_bytes(content.to_string().as_bytes())
    }
}

#[cfg(test)]
mod tests;
