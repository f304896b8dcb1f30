//! Search for all missing keys of a config, since the parser reports only the first.

use serde::de::DeserializeOwned;
use toml_edit::{DocumentMut, Item, Table, Value};

/// Maximum number of missing keys that are listed.
const MOST: usize = 32;

/// Returns the missing keys of a config that failed with `error`, with the names of their tables. It adds a value of
/// the expected type for each missing key until the parser reports no further one.
pub(crate) fn keys<T: DeserializeOwned>(text: &str, error: &toml::de::Error) -> Vec<String> {
    let mut found = Vec::new();
    let (mut text, mut error) = (text.to_owned(), error.clone());
    while let (Some(key), true) = (missing(&error), found.len() < MOST) {
        let Some((name, filled)) = fill::<T>(&text, key, &error) else {
            break;
        };
        found.push(name);
        text = filled;
        match toml::from_str::<T>(&text) {
            Ok(_) => break,
            Err(next) => error = next,
        }
    }
    found
}

/// Returns the line of `text` that contains the byte at index `at`.
pub(crate) fn line_at(text: &str, at: usize) -> &str {
    let at = at.min(text.len());
    let start = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
    text[start..].lines().next().unwrap_or_default()
}

/// Returns the missing key that the parser error names, or `None` for another error.
fn missing(error: &toml::de::Error) -> Option<&str> {
    let rest = error.message().strip_prefix("missing field `")?;
    rest.split('`').next()
}

/// Adds a placeholder value for the missing `key`, in the table to which the error points or at the top level. Returns
/// the key's dotted name and the new text, or `None` if no value works.
fn fill<T: DeserializeOwned>(
    text: &str,
    key: &str,
    error: &toml::de::Error,
) -> Option<(String, String)> {
    let header = error.span().map_or("", |span| line_at(text, span.start));
    let table = header
        .trim()
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .filter(|name| !name.starts_with('['));
    for place in table.into_iter().chain([""]) {
        for value in values() {
            let Some(filled) = insert(text, place, key, value) else {
                continue;
            };
            let helps = match toml::from_str::<T>(&filled) {
                Ok(_) => true,
                Err(next) => is_about_another(&next, error, &filled, key),
            };
            if helps {
                let dot = if place.is_empty() { "" } else { "." };
                return Some((format!("{place}{dot}{key}"), filled));
            }
        }
    }
    None
}

/// Returns true if the parser error is not about the placeholder that was added for `key`.
fn is_about_another(
    next: &toml::de::Error,
    before: &toml::de::Error,
    filled: &str,
    key: &str,
) -> bool {
    // The parser points to the first line if a key is missing at the top level.
    if missing(next).is_some() {
        return next.message() != before.message();
    }
    let at = next.span().map_or("", |span| line_at(filled, span.start));
    let is_of_value = at.split('=').next().is_some_and(|name| name.trim() == key);
    let is_misplaced = next.message().starts_with("unknown field ");
    !is_of_value && !is_misplaced
}

/// Returns one placeholder value of each TOML type, to be filled in for a missing key.
fn values() -> [Item; 5] {
    [
        Item::Value(Value::from("?")),
        Item::Value(Value::from(1)),
        Item::Table(Table::new()),
        Item::Value(Value::Array(toml_edit::Array::new())),
        Item::Value(Value::from(true)),
    ]
}

fn insert(text: &str, place: &str, key: &str, value: Item) -> Option<String> {
    let mut document: DocumentMut = text.parse().ok()?;
    let mut table = document.as_table_mut();
    for part in place.split('.').filter(|part| !part.is_empty()) {
        table = table.get_mut(part.trim())?.as_table_mut()?;
    }
    table.insert(key, value);
    Some(document.to_string())
}
