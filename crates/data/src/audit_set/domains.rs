//! Domains of the audit's text and the grammars that write them.

use super::grammar::{Grammar, Writer};
use super::tables;
use crate::synthetic::random::Random;

/// Seed of the content.
pub const SEED: u64 = 0xa0d17;

/// Neutral text of one domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditDomain {
    /// Name of the domain, such as `stories`.
    pub name: &'static str,
    /// Documents, which are independent of each other: each is a group for statistics.
    pub documents: Vec<String>,
}

/// Documents of each domain.
const DOCUMENTS: usize = 48;

/// Name and grammar of each domain.
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

/// Writes all documents.
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
