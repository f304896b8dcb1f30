//! `key.sub=value` arguments, written into the document before it is read.

use std::path::Path;

use toml_edit::{DocumentMut, Item, Table, Value};

use crate::ConfigError;

/// The text of the config with every override in its place. Text without overrides comes back as it is, so that
/// its lines keep their numbers.
pub fn apply(path: &Path, text: &str, overrides: &[String]) -> Result<String, ConfigError> {
    if overrides.is_empty() {
        return Ok(text.to_owned());
    }
    let mut document: DocumentMut = text.parse().map_err(|error: toml_edit::TomlError| {
        let at = error.span().map_or(0, |span| span.start);
        ConfigError::Line {
            path: path.to_path_buf(),
            line: text[..at.min(text.len())].matches('\n').count() + 1,
            message: error.message().to_owned(),
        }
    })?;
    for argument in overrides {
        set(document.as_table_mut(), argument).map_err(|message| ConfigError::Override {
            argument: argument.clone(),
            message,
        })?;
    }
    Ok(document.to_string())
}

/// Sets the one value that `argument` names, making the tables on its way.
fn set(root: &mut Table, argument: &str) -> Result<(), String> {
    let (key, value) = argument
        .split_once('=')
        .ok_or("expected `key=value`, as in `training.steps=100`")?;
    // What isn't TOML is taken as a string, so that a shell needs no nested quotes.
    let value: Value = value
        .trim()
        .parse()
        .unwrap_or_else(|_| Value::from(value.trim()));
    let mut keys: Vec<&str> = key.trim().split('.').collect();
    let last = keys.pop().unwrap_or_default();
    if last.is_empty() || keys.iter().any(|key| key.is_empty()) {
        return Err("the key before `=` has an empty part".into());
    }
    let mut table: &mut dyn toml_edit::TableLike = root;
    for key in keys {
        table = table
            .entry(key)
            .or_insert_with(|| Item::Table(Table::new()))
            .as_table_like_mut()
            .ok_or_else(|| format!("`{key}` is a value there, not a table"))?;
    }
    match table.get_mut(last) {
        Some(Item::Value(old)) => {
            let decor = old.decor().clone();
            *old = value;
            *old.decor_mut() = decor;
        }
        _ => {
            table.insert(last, Item::Value(value));
        }
    }
    Ok(())
}
