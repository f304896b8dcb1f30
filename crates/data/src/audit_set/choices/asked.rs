//! Fact that is asked for.

use std::collections::BTreeSet;

/// Choices of an item.
pub const CHOICES: usize = 4;

/// Fact that can be asked for: question, answer, and wrong answers of the same kind.
pub struct Asked {
    /// Question text.
    pub question: String,
    /// Right answer.
    pub answer: String,
    /// Candidates for wrong answers; the answer itself is passed over.
    pub others: Vec<String>,
}

impl Asked {
    /// Returns true if there are wrong answers for an item with choices.
    pub fn has_wrong_answers(&self) -> bool {
        let others = self.others.iter().filter(|other| **other != self.answer);
        others.collect::<BTreeSet<_>>().len() + 1 >= CHOICES
    }
}
