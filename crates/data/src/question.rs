//! Questions with exact answers, held out of training.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

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
    let file = File::open(path).map_err(DataError::file("open", path))?;
    let mut questions = Vec::new();
    for (index, line) in BufReader::new(file).lines().enumerate() {
        let number = index as u64 + 1;
        let line = line.map_err(|error| DataError::line(path, number, error.to_string()))?;
        if line.trim().is_empty() {
            continue;
        }
        let question: Question = serde_json::from_str(&line).map_err(|error| {
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
