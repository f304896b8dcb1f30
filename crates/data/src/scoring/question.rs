//! Questions with exact answers, which are held out of training.

use std::collections::HashMap;
use std::path::Path;

use polymath_input::parse_json;
use serde::{Deserialize, Serialize};

use crate::DataError;
use crate::sources::bad_records::BadRecords;

/// A prompt with its only correct answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// Prompt for the model.
    pub prompt: String,
    /// Expected continuation, compared exactly.
    pub answer: String,
    /// Group of questions that depend on each other, such as questions made from one template. A question without a
    /// group is independent of all others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
}

/// Returns a group number for each question; questions of one group have the same number. Returns an empty vector if
/// no question names a group.
pub fn question_groups(questions: &[Question]) -> Vec<u64> {
    if questions.iter().all(|question| question.group.is_none()) {
        return Vec::new();
    }
    let mut numbers = HashMap::new();
    let mut groups = Vec::new();
    for (at, question) in questions.iter().enumerate() {
        // Group numbers begin above the indices of the questions, which number the questions without a group.
        let next = (questions.len() + numbers.len()) as u64;
        groups.push(match &question.group {
            Some(group) => *numbers.entry(group.as_str()).or_insert(next),
            None => at as u64,
        });
    }
    groups
}

/// Reads `questions.jsonl`. Each line is `{"prompt": …, "answer": …}`, with a `group` for questions that depend on
/// each other.
///
/// # Errors
/// Fails if the file can't be read, or if lines are not questions with a prompt and an answer. The error counts these
/// lines and quotes the first ones.
pub fn read_questions(path: &Path) -> Result<Vec<Question>, DataError> {
    let text = polymath_input::read_text(path)?;
    let (mut questions, mut bad) = (Vec::new(), BadRecords::default());
    for (number, line) in (1..).zip(text.lines()) {
        if line.trim().is_empty() {
            continue;
        }
        match question(line) {
            Ok(question) => questions.push(question),
            Err(message) => bad.take(&DataError::line(path, number, message)),
        }
    }
    bad.refuse_lines("questions")?;
    Ok(questions)
}

/// Parses the question of a line; the error says what is wrong.
fn question(line: &str) -> Result<Question, String> {
    let wrong = |reason: &dyn std::fmt::Display| {
        format!("not a question ({reason}): expected {{\"prompt\": \"…\", \"answer\": \"…\"}}")
    };
    let json = parse_json(line).map_err(|error| wrong(&error))?;
    let question: Question = serde_json::from_value(json.value).map_err(|error| wrong(&error))?;
    let has = |half| question.prompt.contains(half) || question.answer.contains(half);
    if json.lone_surrogate.is_some_and(has) {
        return Err(wrong(&"it has a lone surrogate in its text"));
    }
    if question.group.as_deref() == Some("") {
        return Err("an empty group".into());
    }
    if question.prompt.is_empty() || question.answer.trim().is_empty() {
        return Err("an empty prompt or answer".into());
    }
    Ok(question)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that questions of one group share a number and others have their own, and that there are no numbers if
    /// no question names a group.
    #[test]
    fn groups_are_numbered() {
        let question = |group: Option<&str>| Question {
            prompt: "?".into(),
            answer: "!".into(),
            group: group.map(str::to_owned),
        };
        let asked = [Some("add"), None, Some("add"), None].map(question);
        let groups = question_groups(&asked);
        assert_eq!(groups[0], groups[2]);
        let mut apart = groups.clone();
        apart.sort_unstable();
        apart.dedup();
        assert_eq!(apart.len(), 3);
        assert!(question_groups(&asked[1..2]).is_empty());
    }

    /// Checks that the error counts all invalid lines and quotes the first ten, and that a single invalid line is
    /// reported without a count.
    #[test]
    fn all_bad_lines_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("questions.jsonl");
        let fine = "{\"prompt\": \"a\", \"answer\": \"b\"}\n";
        let refused = |text: &str| {
            std::fs::write(&path, text).unwrap();
            read_questions(&path).unwrap_err().to_string()
        };
        let error = refused(&format!("{fine}{{\"prompt\": \"a\", \"answer\": \" \"}}\n"));
        assert!(
            error.ends_with("questions.jsonl:2`: an empty prompt or answer"),
            "{error}"
        );
        let error = refused(&(fine.to_owned() + &"{\"prompt\": 1}\n".repeat(13)));
        assert!(
            error.starts_with("13 lines are not questions; the first 10:\n"),
            "{error}"
        );
        assert!(
            error.contains("questions.jsonl:11`: not a question"),
            "{error}"
        );
        assert!(!error.contains("questions.jsonl:12`"), "{error}");
    }
}
