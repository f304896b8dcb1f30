//! JSON as Python reads it.

use std::path::Path;

use serde_json::Value;

use crate::{InputError, read_text};

/// A value that was read, and what was not quite JSON in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Json {
    /// The value; `NaN` and infinities are null in it.
    pub value: Value,
    /// Character that stands for lone surrogates (escapes of a surrogate without its partner), where there are
    /// any. It stands nowhere else.
    pub half: Option<char>,
}

/// Fault of a text that is not JSON, and its place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} (line {line}, column {column})")]
pub struct JsonError {
    /// Counted from 1.
    pub line: u64,
    /// Bytes into the line, counted from 1.
    pub column: u64,
    /// Fault.
    pub message: String,
}

/// Reads a file of JSON as `json.load` of Python does (`NaN`, infinities, halves of characters, keys that come
/// twice), with or without a byte order mark.
///
/// # Errors
/// As [`read_text`]; what is not JSON, with its line.
pub fn read_json(path: &Path) -> Result<Value, InputError> {
    let text = read_text(path)?;
    let json = parse_json(&text).map_err(|error| InputError::Line {
        path: path.to_path_buf(),
        line: error.line,
        message: format!("is not JSON: {} (column {})", error.message, error.column),
    })?;
    Ok(match json.half {
        None => json.value,
        Some(half) => replaced(json.value, half),
    })
}

/// Reads a file as [`read_json`] does, and returns it as text that is JSON: as it stands, where it is.
///
/// # Errors
/// As [`read_json`].
pub fn read_json_text(path: &Path) -> Result<String, InputError> {
    let text = read_text(path)?;
    match serde_json::from_str::<Value>(&text) {
        Ok(_) => Ok(text),
        Err(_) => read_json(path).map(|value| value.to_string()),
    }
}

/// Reads JSON as Python's `json.loads` does.
///
/// # Errors
/// What is not JSON.
pub fn parse_json(text: &str) -> Result<Json, JsonError> {
    let error = match serde_json::from_str(text) {
        Ok(value) => return Ok(Json { value, half: None }),
        Err(error) => error,
    };
    if let Some((mended, half)) = mend(text)
        && let Ok(value) = serde_json::from_str(&mended)
    {
        return Ok(Json { value, half });
    }
    let (line, column) = (error.line() as u64, error.column() as u64);
    let message = error.to_string();
    let place = format!(" at line {line} column {column}");
    Err(JsonError {
        line,
        column,
        message: message.strip_suffix(&place).unwrap_or(&message).to_owned(),
    })
}

/// A value with the replacement character for halves of characters.
fn replaced(value: Value, half: char) -> Value {
    let mend = |text: String| match text.contains(half) {
        true => text.replace(half, "\u{fffd}"),
        false => text,
    };
    match value {
        Value::String(text) => Value::String(mend(text)),
        Value::Array(values) => values
            .into_iter()
            .map(|value| replaced(value, half))
            .collect(),
        Value::Object(fields) => fields
            .into_iter()
            .map(|(name, value)| (mend(name), replaced(value, half)))
            .collect(),
        other => other,
    }
}

/// The text with `null` for numbers that JSON does not have, and a character for halves of characters; `None` where
/// there is neither.
fn mend(text: &str) -> Option<(String, Option<char>)> {
    // Characters that Unicode keeps for a program's own use; one that the text does not have.
    let marker = ('\u{fdd5}'..='\u{fdef}').find(|marker| {
        let escape = format!("\\u{:04x}", u32::from(*marker));
        !text.contains(*marker) && !text.to_ascii_lowercase().contains(&escape)
    })?;
    let mut mended = String::with_capacity(text.len());
    let (mut rest, mut in_string, mut halves, mut numbers) = (text, false, 0, 0);
    let begins = |letter: char| matches!(letter, '"' | '\\' | 'N' | 'I' | '-' | '0'..='9');
    while let Some(next) = rest.find(begins) {
        mended.push_str(&rest[..next]);
        rest = &rest[next..];
        let taken = match (rest.as_bytes()[0], in_string) {
            (b'"', _) => {
                in_string = !in_string;
                None
            }
            (b'\\', true) => match surrogate(rest) {
                Some(Surrogate::Half) => {
                    halves += 1;
                    mended.push(marker);
                    Some(6)
                }
                Some(Surrogate::Pair) => {
                    mended.push_str(&rest[..12]);
                    Some(12)
                }
                None => {
                    let escaped = rest[1..].chars().next().map_or(0, char::len_utf8);
                    mended.push_str(&rest[..=escaped]);
                    Some(1 + escaped)
                }
            },
            (_, false) => {
                let (length, is_finite) = number(rest);
                match is_finite {
                    true => mended.push_str(&rest[..length]),
                    false => mended.push_str("null"),
                }
                numbers += usize::from(!is_finite);
                (length > 0).then_some(length)
            }
            _ => None,
        };
        let taken = taken.unwrap_or_else(|| {
            mended.push_str(&rest[..1]);
            1
        });
        rest = &rest[taken..];
    }
    mended.push_str(rest);
    (halves + numbers > 0).then_some((mended, (halves > 0).then_some(marker)))
}

enum Surrogate {
    /// Two escapes that are one character.
    Pair,
    Half,
}

/// The surrogate that is escaped at the start of `text`.
fn surrogate(text: &str) -> Option<Surrogate> {
    let code = |at: usize| {
        let digits = text.get(at..at + 6)?.strip_prefix("\\u")?;
        u32::from_str_radix(digits, 16).ok()
    };
    match code(0)? {
        0xd800..=0xdbff if matches!(code(6), Some(0xdc00..=0xdfff)) => Some(Surrogate::Pair),
        0xd800..=0xdfff => Some(Surrogate::Half),
        _ => None,
    }
}

/// The length of the number at the beginning of `text`, 0 where there is none, and whether it is finite: Python
/// writes and reads `NaN` and `Infinity`, and reads `1e999` as infinite.
fn number(text: &str) -> (usize, bool) {
    let names = ["NaN", "Infinity", "-Infinity"];
    if let Some(name) = names.into_iter().find(|name| text.starts_with(name)) {
        return (name.len(), false);
    }
    let of_number = |letter: char| matches!(letter, '0'..='9' | '+' | '-' | '.' | 'e' | 'E');
    let length = text.find(|letter| !of_number(letter)).unwrap_or(text.len());
    let value = text[..length].parse::<f64>();
    // A text that is no number at all stays, and the parser refuses it.
    (length, value.map_or(true, f64::is_finite))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Numbers and halves of characters that JSON does not have are read as Python reads them, and strings that only
    /// look like them stay.
    #[test]
    fn python_json_is_read() {
        let read = |text: &str| parse_json(text).unwrap();
        let plain = read(r#"{"a": "NaN", "b": [1e3, -2], "a": 3}"#);
        assert_eq!(
            (plain.value, plain.half),
            (json!({"a": 3, "b": [1e3, -2]}), None)
        );
        let numbers = read(
            r#"{"a": NaN, "b": [Infinity, -Infinity, -1, -1e999, 1e-999, 2.5e3], "c": "-Infinity \" NaN 1e999"}"#,
        );
        let expected = json!({
            "a": null, "b": [null, null, -1, null, 0.0, 2500.0], "c": "-Infinity \" NaN 1e999"
        });
        assert_eq!((numbers.value, numbers.half), (expected, None));
        let halves =
            read(r#"["\ud800", "\udc00x", "\ud83d\ude00", "\\ud800", "\ud800\u0041", "\n\ud83d"]"#);
        let half = halves.half.unwrap();
        let expected = [
            half.to_string(),
            format!("{half}x"),
            "😀".into(),
            "\\ud800".into(),
            format!("{half}A"),
            format!("\n{half}"),
        ];
        assert_eq!(halves.value, json!(expected));
        let taken = read("[\"\u{fdd5}\", \"\\ufdd6\", \"\\ud800\"]");
        assert_eq!(taken.half, Some('\u{fdd7}'));
    }

    /// Refuses what Python refuses, with its place.
    #[test]
    fn what_is_no_json_is_refused() {
        let refused = |text: &str| parse_json(text).unwrap_err();
        let comma = refused("{\n\"a\": 1,\n}");
        assert_eq!((comma.line, comma.column), (3, 1));
        assert!(comma.message.contains("trailing comma"), "{comma}");
        for text in [
            "",
            "{\"a\": nan}",
            "{\"a\": ",
            "[\"\\u12\"]",
            "[NaN",
            "{'a': 1}",
            "[Infinit]",
        ] {
            refused(text);
        }
    }

    /// A file's errors name it, and halves of characters become replacement characters.
    #[test]
    fn files_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        std::fs::write(&path, "\u{feff}{\"a\": \"\\ud800\", \"b\": NaN}").unwrap();
        assert_eq!(
            read_json(&path).unwrap(),
            json!({"a": "\u{fffd}", "b": null})
        );
        std::fs::write(&path, "{\n  \"a\": b\n").unwrap();
        let error = read_json(&path).unwrap_err().to_string();
        assert!(error.contains("config.json:2`: is not JSON"), "{error}");
    }
}
