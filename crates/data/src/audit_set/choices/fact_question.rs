//! Fact of a table, phrased as a question with its answer and candidates for wrong answers.

use std::collections::BTreeSet;

/// Number of choices of a multiple-choice item.
pub const CHOICES: usize = 4;

/// Fact that can be asked for: question, answer, and wrong answers of the same kind.
pub struct FactQuestion {
    /// Question text.
    pub question: String,
    /// Right answer.
    pub answer: String,
    /// Candidates for wrong answers: the answers of other facts of the same kind. Candidates equal to `answer` are
    /// skipped.
    pub others: Vec<String>,
}

impl FactQuestion {
    /// Returns true if there are enough different wrong answers for a multiple-choice item.
    pub fn has_wrong_answers(&self) -> bool {
        let others = self.others.iter().filter(|other| **other != self.answer);
        others.collect::<BTreeSet<_>>().len() + 1 >= CHOICES
    }
}
