//! Reading of JSON with Python's extensions.

use std::path::Path;

use serde_json::Value;

use crate::{InputError, read_text};

/// A parsed JSON value, with information on lone surrogates.
#[derive(Debug, Clone, PartialEq)]
pub struct Json {
    /// Parsed value, in which `NaN` and infinities are null.
    pub value: Value,
    /// Character that replaces lone surrogates (an escaped half of a UTF-16 pair without the other one) in the
    /// strings of the value; `None` if there are none. It does not occur otherwise in the value.
    pub lone_surrogate: Option<char>,
    /// Standard JSON text of the value, with its keys in the order of the source; `None` if the source is standard
    /// JSON itself.
    pub standard: Option<String>,
}

/// A syntax error with its position.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} (line {line}, column {column})")]
pub struct JsonError {
    /// Line number, counted from 1.
    pub line: u64,
    /// Byte position in the line, counted from 1.
    pub column: u64,
    /// Description of the problem.
    pub message: String,
}

/// Reads a JSON file like Python's `json.load`, which accepts `NaN`, infinities, lone surrogates and repeated keys. A
/// byte order mark is ignored.
///
/// # Errors
/// Fails as [`read_text`] does, or if the text is not JSON; the error names the line.
pub fn read_json(path: &Path) -> Result<Value, InputError> {
    let text = read_text(path)?;
    let json = parse_json(&text).map_err(|error| InputError::Line {
        path: path.to_path_buf(),
        line: error.line,
        message: format!("is not JSON: {} (column {})", error.message, error.column),
    })?;
    Ok(match json.lone_surrogate {
        None => json.value,
        Some(lone_surrogate) => replaced(json.value, lone_surrogate),
    })
}

/// Reads a file like [`read_json`] and returns standard JSON text. A file of standard JSON is returned unchanged.
///
/// # Errors
/// Fails as [`read_json`] does.
pub fn read_json_text(path: &Path) -> Result<String, InputError> {
    let text = read_text(path)?;
    match serde_json::from_str::<Value>(&text) {
        Ok(_) => Ok(text),
        Err(_) => read_json(path).map(|value| value.to_string()),
    }
}

/// Parses JSON like Python's `json.loads`.
///
/// # Errors
/// Fails if the text is not JSON.
pub fn parse_json(text: &str) -> Result<Json, JsonError> {
    let error = match serde_json::from_str(text) {
        Ok(value) => {
            return Ok(Json {
                value,
                lone_surrogate: None,
                standard: None,
            });
        }
        Err(error) => error,
    };
    if let Some((repaired, lone_surrogate)) = repair(text)
        && let Ok(value) = serde_json::from_str(&repaired)
    {
        return Ok(Json {
            value,
            lone_surrogate,
            standard: Some(repaired),
        });
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

/// Replaces the marker character of lone surrogates by U+FFFD in all strings of a JSON value.
fn replaced(value: Value, lone_surrogate: char) -> Value {
    let repair = |text: String| match text.contains(lone_surrogate) {
        true => text.replace(lone_surrogate, "\u{fffd}"),
        false => text,
    };
    match value {
        Value::String(text) => Value::String(repair(text)),
        Value::Array(values) => values
            .into_iter()
            .map(|value| replaced(value, lone_surrogate))
            .collect(),
        Value::Object(fields) => fields
            .into_iter()
            .map(|(name, value)| (repair(name), replaced(value, lone_surrogate)))
            .collect(),
        other => other,
    }
}

/// Converts JSON with Python's extensions to standard JSON: `null` for `NaN` and infinities, and a marker character for
/// lone surrogates. Returns `None` if the text contains neither.
fn repair(text: &str) -> Option<(String, Option<char>)> {
    // The marker is a Unicode noncharacter that the text does not contain.
    let marker = ('\u{fdd5}'..='\u{fdef}').find(|marker| {
        let escape = format!("\\u{:04x}", u32::from(*marker));
        !text.contains(*marker) && !text.to_ascii_lowercase().contains(&escape)
    })?;
    let mut repaired = String::with_capacity(text.len());
    let (mut rest, mut in_string, mut halves, mut numbers) = (text, false, 0, 0);
    let begins = |letter: char| matches!(letter, '"' | '\\' | 'N' | 'I' | '-' | '0'..='9');
    while let Some(next) = rest.find(begins) {
        repaired.push_str(&rest[..next]);
        rest = &rest[next..];
        let taken = match (rest.as_bytes()[0], in_string) {
            (b'"', _) => {
                in_string = !in_string;
                None
            }
            (b'\\', true) => match surrogate(rest) {
                Some(Surrogate::Lone) => {
                    halves += 1;
                    repaired.push(marker);
                    Some(6)
                }
                Some(Surrogate::Pair) => {
                    repaired.push_str(&rest[..12]);
                    Some(12)
                }
                None => {
                    let escaped = rest[1..].chars().next().map_or(0, char::len_utf8);
                    repaired.push_str(&rest[..=escaped]);
                    Some(1 + escaped)
                }
            },
            (_, false) => {
                let (length, is_finite) = number(rest);
                match is_finite {
                    true => repaired.push_str(&rest[..length]),
                    false => repaired.push_str("null"),
                }
                numbers += usize::from(!is_finite);
                (length > 0).then_some(length)
            }
            _ => None,
        };
        let taken = taken.unwrap_or_else(|| {
            repaired.push_str(&rest[..1]);
            1
        });
        rest = &rest[taken..];
    }
    repaired.push_str(rest);
    (halves + numbers > 0).then_some((repaired, (halves > 0).then_some(marker)))
}

enum Surrogate {
    /// Two surrogate escapes (`\ud83d\ude00`) that form one character.
    Pair,
    Lone,
}

/// Returns the kind of the surrogate escape at the start of `text`; `None` if there is none.
fn surrogate(text: &str) -> Option<Surrogate> {
    let code = |at: usize| {
        let digits = text.get(at..at + 6)?.strip_prefix("\\u")?;
        u32::from_str_radix(digits, 16).ok()
    };
    match code(0)? {
        0xd800..=0xdbff if matches!(code(6), Some(0xdc00..=0xdfff)) => Some(Surrogate::Pair),
        0xd800..=0xdfff => Some(Surrogate::Lone),
        _ => None,
    }
}

/// Returns the length of the number at the start of `text` (0 if there is none), and whether the number is finite.
/// Python writes and reads `NaN` and `Infinity`, and reads `1e999` as infinity.
fn number(text: &str) -> (usize, bool) {
    let names = ["NaN", "Infinity", "-Infinity"];
    if let Some(name) = names.into_iter().find(|name| text.starts_with(name)) {
        return (name.len(), false);
    }
    let of_number = |letter: char| matches!(letter, '0'..='9' | '+' | '-' | '.' | 'e' | 'E');
    let length = text.find(|letter| !of_number(letter)).unwrap_or(text.len());
    let value = text[..length].parse::<f64>();
    // Text that is not a number stays, so that the parser reports it.
    (length, value.map_or(true, f64::is_finite))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Checks that non-finite numbers and lone surrogates are read like in Python, and that strings that only look
    /// like them stay unchanged.
    #[test]
    fn python_json_is_read() {
        let read = |text: &str| parse_json(text).unwrap();
        let plain = read(r#"{"a": "NaN", "b": [1e3, -2], "a": 3}"#);
        assert_eq!(
            (plain.value, plain.lone_surrogate),
            (json!({"a": 3, "b": [1e3, -2]}), None)
        );
        let numbers = read(
            r#"{"a": NaN, "b": [Infinity, -Infinity, -1, -1e999, 1e-999, 2.5e3], "c": "-Infinity \" NaN 1e999"}"#,
        );
        let expected = json!({
            "a": null, "b": [null, null, -1, null, 0.0, 2500.0], "c": "-Infinity \" NaN 1e999"
        });
        assert_eq!((numbers.value, numbers.lone_surrogate), (expected, None));
        assert_eq!(
            read(r#"{"b": NaN, "a": 1}"#).standard.unwrap(),
            r#"{"b": null, "a": 1}"#
        );
        let halves =
            read(r#"["\ud800", "\udc00x", "\ud83d\ude00", "\\ud800", "\ud800\u0041", "\n\ud83d"]"#);
        let lone_surrogate = halves.lone_surrogate.unwrap();
        let expected = [
            lone_surrogate.to_string(),
            format!("{lone_surrogate}x"),
            "😀".into(),
            "\\ud800".into(),
            format!("{lone_surrogate}A"),
            format!("\n{lone_surrogate}"),
        ];
        assert_eq!(halves.value, json!(expected));
        let taken = read("[\"\u{fdd5}\", \"\\ufdd6\", \"\\ud800\"]");
        assert_eq!(taken.lone_surrogate, Some('\u{fdd7}'));
    }

    /// Checks that text that Python refuses is refused with its position.
    #[test]
    fn text_that_is_not_json_is_refused() {
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

    /// Checks that errors in a file name it, and that lone surrogates become U+FFFD.
    #[test]
    fn lone_surrogates_of_files_are_replaced() {
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
