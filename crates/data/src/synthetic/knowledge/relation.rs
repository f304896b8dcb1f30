//! Relations between subjects and answers, with the phrasings of their facts.

use crate::synthetic::lexicon::capitalized;
use crate::synthetic::random::Random;

/// Text of a statement or question with the placeholders `{subject}`, `{answer}` or `{phrase}`.
pub type Template = &'static str;

/// Fact of a relation: a subject and its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    pub subject: &'static str,
    pub answer: &'static str,
}

/// Relation, such as “symbol”, with its facts and the phrasings of these.
#[derive(Debug)]
pub struct Relation {
    /// Name of the relation, in one word.
    pub name: &'static str,
    /// Title of a page with a table of the facts.
    pub title: &'static str,
    pub facts: Vec<Fact>,
    /// Templates of noun phrases that ask for the answer, with `{subject}`. The first one is short and used in the
    /// test.
    pub phrases: &'static [Template],
    /// Templates of statements, with `{subject}` and `{answer}`.
    pub statements: &'static [Template],
}

impl Relation {
    /// Writes a table of some of the facts, drawn without replacement.
    pub fn table(&self, random: &mut Random) -> String {
        let mut order: Vec<&Fact> = self.facts.iter().collect();
        let count = (random.between(16, 27) as usize).min(order.len());
        let mut text = format!("{}\n", self.title);
        for row in 0..count {
            let drawn = row + random.below((order.len() - row) as i64) as usize;
            order.swap(row, drawn);
            text += &format!("{}: {}\n", order[row].subject, order[row].answer);
        }
        text
    }

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

/// Replaces the placeholders of a template by subject and answer.
pub fn fill(template: &str, fact: &Fact) -> String {
    template
        .replace("{subject}", fact.subject)
        .replace("{answer}", fact.answer)
}

/// Makes facts from pairs of a subject and its answer.
pub fn facts(pairs: impl IntoIterator<Item = (&'static str, &'static str)>) -> Vec<Fact> {
    pairs
        .into_iter()
        .map(|(subject, answer)| Fact { subject, answer })
        .collect()
}
