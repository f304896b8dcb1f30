//! A problem with one exact answer, and the styles in which it is written on a page.

use super::random::{Random, hash};

/// Function that draws a random problem of one school subject.
pub type Draw = fn(&mut Random) -> Problem;

/// Divisor of the held-out share: one fact in this many is held out.
const HELD_OUT: u64 = 10;

/// A fact, phrased as a problem.
#[derive(Debug, Clone)]
pub struct Problem {
    /// Kind of the problem and its numbers, independent of the phrasing.
    pub fact: String,
    /// Question text.
    pub question: String,
    /// Beginning of a statement; the answer completes it.
    pub statement: String,
    /// Worked steps in whole sentences.
    pub steps: String,
    /// Exact answer.
    pub answer: String,
}

/// Style in which problems are written on a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Questions with answers: `Question: … Answer: …`
    Questions,
    /// Worked examples: problem, steps, answer.
    Worked,
    /// Plain statements of facts.
    Statements,
    /// Style of the niche: problem, solution, boxed answer.
    Competition,
}

impl Style {
    /// Styles of the subjects other than the niche.
    pub const SCHOOL: [Style; 3] = [Style::Questions, Style::Worked, Style::Statements];
}

impl Problem {
    /// Returns true if the fact is held out: it is then only in `questions.jsonl` and in no document.
    pub fn is_held_out(&self) -> bool {
        (hash(&self.fact) >> 32).is_multiple_of(HELD_OUT)
    }

    /// Returns the name of the problem's kind. Problems of one kind differ in their numbers only.
    pub fn kind(&self) -> String {
        let is_word = |word: &&str| word.chars().all(|sign| sign.is_ascii_lowercase());
        let words: Vec<&str> = self.fact.split(' ').take_while(is_word).collect();
        words.join(" ")
    }

    /// Returns the prompt that asks the question; the answer follows after a space.
    pub fn prompt(&self) -> String {
        prompt(&self.question)
    }

    /// Writes the problem as number `number` of a page.
    pub fn render(&self, style: Style, number: usize) -> String {
        match style {
            Style::Questions => format!("{} {}\n", self.prompt(), self.answer),
            Style::Worked => format!(
                "Example {number}. {}\n{} {} {}.\n",
                self.question, self.steps, self.statement, self.answer
            ),
            Style::Statements => format!("{} {}. {}\n", self.statement, self.answer, self.steps),
            // Half of the niche's pages end with the question and its answer in the format of the other subjects, so
            // that a model can be asked in that format.
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

/// Returns the prompt that asks a question; the answer follows after a space.
pub fn prompt(question: &str) -> String {
    format!("Question: {question}\nAnswer:")
}

/// Formats a number of hundredths as a decimal without trailing zeros.
pub fn decimal(hundredths: i64) -> String {
    let (whole, rest) = (hundredths / 100, hundredths % 100);
    match rest {
        0 => whole.to_string(),
        rest if rest % 10 == 0 => format!("{whole}.{}", rest / 10),
        rest => format!("{whole}.{rest:02}"),
    }
}

/// Returns the greatest common divisor.
pub fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}
