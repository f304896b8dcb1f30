//! Questions with exact answers, held out of training.

use std::path::Path;

use polymath_input::parse_json;
use serde::{Deserialize, Serialize};

use crate::DataError;

/// A prompt and the one text that answers it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// What the model is given.
    pub prompt: String,
    /// What it must go on with, letter by letter.
    pub answer: String,
}

/// Reads `questions.jsonl`: a line `{"prompt": …, "answer": …}` each.
///
/// # Errors
/// A file that can't be read, or a line that is not a question with a prompt and an answer in it.
pub fn read_questions(path: &Path) -> Result<Vec<Question>, DataError> {
    let text = polymath_input::read_text(path)?;
    let mut questions = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        if line.trim().is_empty() {
            continue;
        }
        let question = question(line).map_err(|error| {
            let expected = "expected {\"prompt\": \"…\", \"answer\": \"…\"}";
            DataError::line(
                path,
                number,
                format!("not a question ({error}): {expected}"),
            )
        })?;
        if question.prompt.is_empty() || question.answer.trim().is_empty() {
            return Err(DataError::line(path, number, "an empty prompt or answer"));
        }
        questions.push(question);
    }
    Ok(questions)
}

fn question(line: &str) -> Result<Question, String> {
    let json = parse_json(line).map_err(|error| error.to_string())?;
    let question: Question =
        serde_json::from_value(json.value).map_err(|error| error.to_string())?;
    let has = |half| question.prompt.contains(half) || question.answer.contains(half);
    match json.half {
        Some(half) if has(half) => Err("it has half of a character in its text".into()),
        _ => Ok(question),
    }
}
