//! Insertion of `key.sub=value` arguments into a configuration before it is parsed.

use std::ops::Range;
use std::path::Path;

use toml_edit::{DocumentMut, Item, Table, Value};

use crate::ConfigError;

/// Returns the text of the config with every override applied. Text without overrides is returned unchanged, so that
/// line numbers stay the same.
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

/// Returns the text without the keys whose exclusive counterparts are overridden. Their lines are made blank, not
/// removed, so that line numbers stay the same. If the text is not TOML, it is returned unchanged, and the parser
/// reports it later.
pub fn without_exclusive_counterparts(
    text: &str,
    overrides: &[String],
    exclusive: &[[&str; 2]],
) -> String {
    let given = |key: &str| {
        let of = |argument: &String| argument.split('=').next().map(str::trim) == Some(key);
        overrides.iter().any(of)
    };
    let Ok(document) = text.parse::<toml_edit::Document<String>>() else {
        return text.to_owned();
    };
    let mut kept = text.to_owned();
    for [one, other] in exclusive {
        for (key, rival) in [(one, other), (other, one)] {
            if !given(rival) || given(key) {
                continue;
            }
            let (table, last) = key.split_once('.').unwrap_or(("", key));
            let item = match table {
                "" => document.get_key_value(last),
                table => document
                    .get(table)
                    .and_then(Item::as_table)
                    .and_then(|table| table.get_key_value(last)),
            };
            let span = item.and_then(|(key, item)| Some(key.span()?.start..item.span()?.end));
            if let Some(span) = span {
                let blank = " ".repeat(span.len());
                kept.replace_range(span, &blank);
            }
        }
    }
    kept
}

/// Replaces `~` by the home folder in strings that begin with `~/`. Line numbers stay the same. If the text is not
/// TOML, it is returned unchanged, and the parser reports it later.
pub fn expand_home_paths(text: &str) -> String {
    let mut changed = text.to_owned();
    if !text.contains("~/") {
        return changed;
    }
    let Ok(document) = text.parse::<toml_edit::Document<String>>() else {
        return changed;
    };
    let mut paths = Vec::new();
    for (_, item) in document.iter() {
        collect_paths(item, &mut paths);
    }
    paths.sort_by_key(|(span, _)| std::cmp::Reverse(span.start));
    for (span, path) in paths {
        changed.replace_range(span, &Value::from(path).to_string());
    }
    changed
}

/// Collects the byte ranges of strings that begin with `~/`, with their expanded paths.
fn collect_paths(item: &Item, paths: &mut Vec<(Range<usize>, String)>) {
    match item {
        Item::Value(value) => collect_in_value(value, paths),
        Item::Table(table) => table
            .iter()
            .for_each(|(_, item)| collect_paths(item, paths)),
        Item::ArrayOfTables(tables) => {
            let items = tables.iter().flat_map(Table::iter);
            items.for_each(|(_, item)| collect_paths(item, paths));
        }
        Item::None => {}
    }
}

fn collect_in_value(value: &Value, paths: &mut Vec<(Range<usize>, String)>) {
    match value {
        Value::Array(values) => values
            .iter()
            .for_each(|value| collect_in_value(value, paths)),
        Value::InlineTable(table) => {
            table
                .iter()
                .for_each(|(_, value)| collect_in_value(value, paths));
        }
        Value::String(text) if text.value().starts_with("~/") => {
            let path = polymath_input::expand_home(text.value()).into_owned();
            paths.extend(text.span().map(|span| (span, path)));
        }
        _ => {}
    }
}

/// Splits a dotted key into its parts. A part that contains a dot is quoted, as in TOML: `domains."v1.2".paths`.
fn parts(key: &str) -> Result<Vec<String>, String> {
    if !key.contains(['"', '\'']) {
        return Ok(key.split('.').map(str::to_owned).collect());
    }
    let parts = toml_edit::Key::parse(key)
        .map_err(|error| format!("the key before `=` is not TOML: {}", error.message()))?;
    Ok(parts.iter().map(|part| part.get().to_owned()).collect())
}

/// Sets the key in `argument` (`key.sub=value`) to its value, and creates the tables that contain the key.
fn set(root: &mut Table, argument: &str) -> Result<(), String> {
    let (key, value) = argument
        .split_once('=')
        .ok_or("expected `key=value`, as in `training.steps=100`")?;
    // A value that is not TOML is taken as a string, so that the shell needs no nested quotes.
    let value: Value = value
        .trim()
        .parse()
        .unwrap_or_else(|_| Value::from(value.trim()));
    let mut keys = parts(key.trim())?;
    let last = keys.pop().unwrap_or_default();
    if last.is_empty() || keys.iter().any(String::is_empty) {
        return Err("the key before `=` has an empty part".into());
    }
    let mut table: &mut dyn toml_edit::TableLike = root;
    for key in keys {
        table = table
            .entry(&key)
            .or_insert_with(|| Item::Table(Table::new()))
            .as_table_like_mut()
            .ok_or_else(|| format!("`{key}` is a value there, not a table"))?;
    }
    match table.get_mut(&last) {
        Some(Item::Value(old)) => {
            let decor = old.decor().clone();
            *old = value;
            *old.decor_mut() = decor;
        }
        _ => {
            table.insert(&last, Item::Value(value));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{apply, expand_home_paths, without_exclusive_counterparts};

    /// Checks that a quoted key that contains a dot is one part.
    #[test]
    fn a_quoted_key_is_one_part() {
        let text = "[domains.\"my d v1.2\"]\npaths = [\"a\"]\n";
        let apply = |argument: &str| apply("a.toml".as_ref(), text, &[argument.to_owned()]);
        let changed = apply("domains.\"my d v1.2\".paths=[\"b\"]").unwrap();
        assert_eq!(changed, text.replace("\"a\"", "\"b\""));
        let error = apply("domains.\"my d.paths=1").unwrap_err().to_string();
        assert!(error.contains("is not TOML"), "{error}");
    }

    /// Checks that `~/` is expanded wherever a string begins with it, and that nothing else changes.
    #[test]
    fn tilde_paths_are_expanded() {
        let home = polymath_input::expand_home("~/x")
            .trim_end_matches("/x")
            .to_owned();
        let text = "a = '~/t' # ~/u\nb = [\"~/v\", \"w~/\"]\nc = { d = \"~/y\" }\n[[e]]\nf = \"~\"\ng.h = \"~/z\"\n";
        let expected = format!(
            "a = \"{home}/t\" # ~/u\nb = [\"{home}/v\", \"w~/\"]\nc = {{ d = \"{home}/y\" }}\n[[e]]\nf = \"~\"\ng.h = \
             \"{home}/z\"\n"
        );
        assert_eq!(expand_home_paths(text), expected);
        assert_eq!(expand_home_paths("a = \"~/\nb"), "a = \"~/\nb");
    }

    const TEXT: &str = "run = \"a\"\n[training]\ntokens = 20_000 # many\nbatch_size = 4\n";
    const PAIRS: &[[&str; 2]] = &[["training.tokens", "training.steps"]];

    fn kept(overrides: &[&str]) -> String {
        let overrides: Vec<String> = overrides.iter().map(ToString::to_string).collect();
        without_exclusive_counterparts(TEXT, &overrides, PAIRS)
    }

    /// Checks that an override removes only its exclusive counterpart, and that the file stays unchanged if both or
    /// neither are overridden.
    #[test]
    fn an_override_removes_its_exclusive_counterpart() {
        let without = kept(&["training.steps=5"]);
        assert!(!without.contains("tokens"), "{without}");
        assert_eq!(without.lines().count(), TEXT.lines().count());
        assert!(without.contains("batch_size = 4") && without.contains("# many"));
        for overrides in [
            &["training.tokens=5"][..],
            &["training.tokens=5", "training.steps=5"],
            &["training.batch_size=5"],
        ] {
            assert_eq!(kept(overrides), TEXT);
        }
    }
}
