//! A problem with one exact answer, and the ways to put it on a page.

use super::random::{Random, hash};

/// Function that draws a problem of one subject.
pub type Draw = fn(&mut Random) -> Problem;

/// Divisor of the held-out facts: one in this many.
const HELD_OUT: u64 = 10;

/// A fact in the form of a problem.
#[derive(Debug, Clone)]
pub struct Problem {
    /// The kind of problem and its numbers, in an order that does not depend on the phrasing.
    pub fact: String,
    /// A question.
    pub question: String,
    /// Beginning of a statement that the answer ends.
    pub statement: String,
    /// Worked steps, whole sentences.
    pub steps: String,
    /// The exact answer.
    pub answer: String,
}

/// Style of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// `Question: … Answer: …`
    Questions,
    /// Worked examples.
    Worked,
    /// Plain statements.
    Statements,
    /// The niche's own: problem, solution, boxed answer.
    Competition,
}

impl Style {
    /// Style of textbooks.
    pub const SCHOOL: [Style; 3] = [Style::Questions, Style::Worked, Style::Statements];
}

impl Problem {
    /// Returns true if it is only asked, never taught.
    pub fn is_held_out(&self) -> bool {
        (hash(&self.fact) >> 32).is_multiple_of(HELD_OUT)
    }

    /// The kind of problem: questions of one kind differ in their numbers alone.
    pub fn kind(&self) -> String {
        let is_word = |word: &&str| word.chars().all(|sign| sign.is_ascii_lowercase());
        let words: Vec<&str> = self.fact.split(' ').take_while(is_word).collect();
        words.join(" ")
    }

    /// Returns the beginning of a question; the answer follows after a space.
    pub fn prompt(&self) -> String {
        format!("Question: {}\nAnswer:", self.question)
    }

    /// Writes it on a page, as the `number`-th problem.
    pub fn render(&self, style: Style, number: usize) -> String {
        match style {
            Style::Questions => format!("{} {}\n", self.prompt(), self.answer),
            Style::Worked => format!(
                "Example {number}. {}\n{} {} {}.\n",
                self.question, self.steps, self.statement, self.answer
            ),
            Style::Statements => format!("{} {}. {}\n", self.statement, self.answer, self.steps),
            // Half of the niche's pages end with the question and its answer, so that it can be asked like the rest.
            Style::Competition => format!(
                "Problem {number}. {}\nSolution. {} Hence the answer is $\\boxed{{{}}}$.\n{} {}\n",
                self.question,
                self.steps,
                self.answer,
                self.prompt(),
                self.answer
            ),
        }
    }
}

/// A number of hundredths as a decimal without needless zeros.
pub fn decimal(hundredths: i64) -> String {
    let (whole, rest) = (hundredths / 100, hundredths % 100);
    match rest {
        0 => whole.to_string(),
        rest if rest % 10 == 0 => format!("{whole}.{}", rest / 10),
        rest => format!("{whole}.{rest:02}"),
    }
}

/// The greatest common divisor.
pub fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}
