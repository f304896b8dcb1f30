//! Format instructions that a program verifies, after the idea of IFEval (Zhou et al. 2023, arXiv 2311.07911).

mod instructions;
mod text;

pub use instructions::format_instructions;

use text::{bulleted, is_quoted, numbered, paragraphs, sections, unfenced, words};

/// Instruction about the form of an answer, with the check that verifies it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FormatInstruction {
    /// Id of the instruction: the name of its kind of check and a number.
    pub id: String,
    /// Request for the model, which describes the form of the answer in words.
    pub prompt: &'static str,
    /// Check that an answer has the requested form.
    pub check: FormatCheck,
}

/// Required form of an answer. An answer without text fails every check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FormatCheck {
    /// Exactly this many lines that begin with `-`, `*` or `•` and a space.
    Bullets(usize),
    /// Exactly this many lines that begin with a number and `.` or `)`, numbered from 1 without a gap.
    NumberedList(usize),
    /// No upper-case letter, and at least one letter.
    LowerCase,
    /// No lower-case letter, and at least one letter.
    UpperCase,
    /// A JSON object with at least these keys, alone or in one Markdown fence.
    JsonKeys(&'static [&'static str]),
    /// The answer begins with this text, after white space.
    StartsWith(&'static str),
    /// The answer ends with this text, before white space.
    EndsWith(&'static str),
    /// The character does not occur, in upper or lower case.
    Without(char),
    /// The word does not occur, in any letter case.
    WithoutWord(&'static str),
    /// At most this many words, which are separated by white space.
    MaxWords(usize),
    /// At least this many words.
    MinWords(usize),
    /// The word occurs as a whole word, in any case, at least this often.
    Keyword {
        /// The word, in lower case.
        word: &'static str,
        /// Minimum number of occurrences.
        times: usize,
    },
    /// The whole answer is in one pair of double quotation marks, straight or curly.
    Quoted,
    /// A title in double angle brackets, `<<…>>`, in one line.
    Title,
    /// Exactly this many parts with text, separated by lines of `***`.
    Sections(usize),
    /// Exactly this many paragraphs, separated by empty lines.
    Paragraphs(usize),
    /// At least this many placeholders in square brackets, such as `[name]`.
    Placeholders(usize),
    /// One of these answers, in any case, with or without a period.
    OneOf(&'static [&'static str]),
}

impl FormatCheck {
    /// Returns true if an answer has the required form.
    pub fn holds(&self, answer: &str) -> bool {
        let answer = answer.trim();
        if answer.is_empty() {
            return false;
        }
        match *self {
            Self::Bullets(count) => bulleted(answer) == count,
            Self::NumberedList(count) => numbered(answer) == Some(count),
            Self::LowerCase => is_of_case(answer, char::is_lowercase, char::is_uppercase),
            Self::UpperCase => is_of_case(answer, char::is_uppercase, char::is_lowercase),
            Self::JsonKeys(keys) => has_keys(unfenced(answer), keys),
            Self::StartsWith(text) => answer.starts_with(text),
            Self::EndsWith(text) => answer.ends_with(text),
            Self::Without(sign) => !answer.to_lowercase().contains(sign.to_ascii_lowercase()),
            Self::WithoutWord(word) => words(answer).all(|other| other != word),
            Self::MaxWords(count) => answer.split_whitespace().count() <= count,
            Self::MinWords(count) => answer.split_whitespace().count() >= count,
            Self::Keyword { word, times } => {
                words(answer).filter(|other| other == word).count() >= times
            }
            Self::Quoted => is_quoted(answer),
            Self::Title => has_title(answer),
            Self::Sections(count) => sections(answer) == count,
            Self::Paragraphs(count) => paragraphs(answer) == count,
            Self::Placeholders(count) => placeholders(answer) >= count,
            Self::OneOf(answers) => {
                let given = answer.strip_suffix('.').unwrap_or(answer).to_lowercase();
                answers.contains(&given.as_str())
            }
        }
    }

    /// Returns the name of this kind of check, as used in ids.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Bullets(_) => "bullets",
            Self::NumberedList(_) => "numbered-list",
            Self::LowerCase => "lower-case",
            Self::UpperCase => "upper-case",
            Self::JsonKeys(_) => "json-keys",
            Self::StartsWith(_) => "starts-with",
            Self::EndsWith(_) => "ends-with",
            Self::Without(_) => "without-character",
            Self::WithoutWord(_) => "without-word",
            Self::MaxWords(_) => "max-words",
            Self::MinWords(_) => "min-words",
            Self::Keyword { .. } => "keyword",
            Self::Quoted => "quoted",
            Self::Title => "title",
            Self::Sections(_) => "sections",
            Self::Paragraphs(_) => "paragraphs",
            Self::Placeholders(_) => "placeholders",
            Self::OneOf(_) => "one-of",
        }
    }
}

fn is_of_case(answer: &str, is_right: fn(char) -> bool, is_wrong: fn(char) -> bool) -> bool {
    answer.chars().any(is_right) && !answer.chars().any(is_wrong)
}

fn has_keys(answer: &str, keys: &[&str]) -> bool {
    let Ok(serde_json::Value::Object(object)) = serde_json::from_str(answer) else {
        return false;
    };
    keys.iter().all(|key| object.contains_key(*key))
}

fn has_title(answer: &str) -> bool {
    answer.lines().any(|line| {
        let after = line.split_once("<<").map(|(_, after)| after);
        let title = after.and_then(|after| after.split_once(">>"));
        title.is_some_and(|(title, _)| !title.trim_matches(['<', '>', ' ', '\t']).is_empty())
    })
}

fn placeholders(answer: &str) -> usize {
    let parts = answer.split('[').skip(1);
    parts
        .filter(|part| {
            part.split_once(']')
                .is_some_and(|(inside, _)| !inside.trim().is_empty())
        })
        .count()
}

#[cfg(test)]
mod tests;
