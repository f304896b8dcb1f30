//! Domains of the audit's text and the grammars that write them.

use super::grammar::{Grammar, Writer};
use super::tables;
use crate::synthetic::random::Random;

/// Random seed of the audit's generated content.
pub const SEED: u64 = 0xa0d17;

/// Neutral text of one domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditDomain {
    /// Name of the domain, such as `stories`.
    pub name: &'static str,
    /// Documents of the domain. They are independent of each other, so each is a group of its own in statistics.
    pub documents: Vec<String>,
}

/// Number of documents in each domain.
const DOCUMENTS: usize = 48;

/// Name of each domain, and the text of the grammar that writes its documents.
const GRAMMARS: [(&str, &str); 8] = [
    ("stories", include_str!("grammars/stories.txt")),
    ("encyclopedia", include_str!("grammars/encyclopedia.txt")),
    ("mathematics", include_str!("grammars/mathematics.txt")),
    ("science", include_str!("grammars/science.txt")),
    (
        "code",
        concat!(
            include_str!("grammars/code.txt"),
            include_str!("grammars/code-files.txt")
        ),
    ),
    ("manuals", include_str!("grammars/manuals.txt")),
    (
        "letters",
        concat!(
            include_str!("grammars/letters.txt"),
            include_str!("grammars/letters-parts.txt")
        ),
    ),
    (
        "structured",
        concat!(
            include_str!("grammars/structured.txt"),
            include_str!("grammars/structured-parts.txt")
        ),
    ),
];

/// Returns the grammar of a domain.
///
/// # Panics
/// Panics if there is no such domain.
pub fn grammar(name: &str) -> Grammar {
    let text = GRAMMARS.iter().find(|(other, _)| *other == name);
    let mut grammar = Grammar::parse(text.expect("a domain of the audit").1);
    if name == "science" {
        tables::add_science(&mut grammar);
    }
    grammar
}

/// Writes the documents of all domains.
pub fn domains() -> Vec<AuditDomain> {
    let domain = |(name, _): &(&'static str, &str)| {
        let grammar = grammar(name);
        let mut writer = Writer::new(&grammar, Random::new(SEED, name));
        AuditDomain {
            name,
            documents: (0..DOCUMENTS).map(|_| writer.document()).collect(),
        }
    };
    GRAMMARS.iter().map(domain).collect()
}
