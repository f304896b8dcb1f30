//! Relations between subjects and answers, with the phrasings of their facts.

use crate::synthetic::random::Random;

/// Statement or question frame with the places `{subject}`, `{answer}` or `{phrase}`.
pub type Template = &'static str;

/// Fact of a relation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    pub subject: &'static str,
    pub answer: &'static str,
}

/// Relation with its facts and phrasings.
#[derive(Debug)]
pub struct Relation {
    /// Name of the relation, one word.
    pub name: &'static str,
    pub facts: Vec<Fact>,
    /// Noun phrases for the answer, with `{subject}`. The first one is short and is the one of the test.
    pub phrases: &'static [Template],
    /// Statements, with `{subject}` and `{answer}`.
    pub statements: &'static [Template],
}

impl Relation {
    /// Writes a line that states a fact, in one of the relation's phrasings.
    pub fn state(&self, fact: &Fact, random: &mut Random) -> String {
        let choice = random.below((self.statements.len() + self.phrases.len()) as i64) as usize;
        let sentence = match self.statements.get(choice) {
            Some(statement) => fill(statement, fact),
            None => {
                let phrase = fill(self.phrases[choice - self.statements.len()], fact);
                format!("{phrase} is {}.", fact.answer)
            }
        };
        capitalized(&sentence) + "\n"
    }
}

/// Puts subject and answer into a template.
pub fn fill(template: &str, fact: &Fact) -> String {
    template
        .replace("{subject}", fact.subject)
        .replace("{answer}", fact.answer)
}

/// Returns a sentence with its first letter in upper case.
pub fn capitalized(sentence: &str) -> String {
    let mut letters = sentence.chars();
    match letters.next() {
        Some(first) => first.to_uppercase().chain(letters).collect(),
        None => String::new(),
    }
}

/// Returns the facts of pairs of subject and answer.
pub fn facts(pairs: impl IntoIterator<Item = (&'static str, &'static str)>) -> Vec<Fact> {
    pairs
        .into_iter()
        .map(|(subject, answer)| Fact { subject, answer })
        .collect()
}
