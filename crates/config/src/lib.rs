//! Reading of TOML configuration files.
//!
//! Each settings struct is defined next to the code that it configures. This crate only reads them: it applies
//! `key.sub=value` overrides from the command line, and turns parser errors into messages with the file, the line and
//! the nearest known key.
//!
//! ```
//! #[derive(Debug, serde::Deserialize)]
//! #[serde(deny_unknown_fields)]
//! struct Settings {
//!     learning_rate: f64,
//! }
//! let error = polymath_config::parse::<Settings>("demo.toml".as_ref(), "lerning_rate = 1e-3", &[]).unwrap_err();
//! let expected = "`demo.toml`, line 1: unknown key `lerning_rate`: did you mean `learning_rate`?";
//! assert!(error.to_string().contains(expected));
//! ```

mod by_key;
mod count;
mod folder;
mod missing;
mod overrides;
mod source;

pub use by_key::{toml_key, values_by_key};
pub use count::optional_count;
pub use folder::folder;
pub use source::Source;

use std::path::{Path, PathBuf};

use polymath_input::InputError;
use serde::de::DeserializeOwned;

use missing::line_at;

/// Error in a configuration, which the user can fix.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file can't be read.
    #[error("can't read the config `{}`: {source}", path.display())]
    Read {
        /// Path of the file.
        path: PathBuf,
        /// Error of the operating system.
        source: std::io::Error,
    },
    /// A line of the file is not valid.
    #[error("`{}`, line {line}: {message}", path.display())]
    Line {
        /// Path of the file.
        path: PathBuf,
        /// Line number, counted from 1.
        line: usize,
        /// Description of the problem and how to fix it.
        message: String,
    },
    /// The file as a whole is not valid (a key is missing).
    #[error("`{}`: {message}", path.display())]
    File {
        /// Path of the file.
        path: PathBuf,
        /// Description of the problem and how to fix it.
        message: String,
    },
    /// A `key=value` argument of the command line is not valid.
    #[error("override `{argument}`: {message}")]
    Override {
        /// Argument as given on the command line.
        argument: String,
        /// Description of the problem and how to fix it.
        message: String,
    },
}

impl From<InputError> for ConfigError {
    fn from(error: InputError) -> Self {
        match error {
            InputError::File { path, source, .. } => Self::Read { path, source },
            InputError::Content { path, message } => Self::File { path, message },
            InputError::Line {
                path,
                line,
                message,
            } => Self::Line {
                path,
                line: line as usize,
                message,
            },
        }
    }
}

/// Reads the settings `T` from the TOML file at `path` and applies `overrides` of the form `key.sub=value`. A string
/// that begins with `~/` is a path in the home folder.
///
/// # Errors
/// Fails if the file can't be read or is not TOML, if a key is unknown (the message names the nearest known one) or
/// missing, if a value has the wrong type, or if an override can't be applied.
pub fn load<T: DeserializeOwned>(path: &Path, overrides: &[String]) -> Result<T, ConfigError> {
    load_exclusive(path, overrides, &[])
}

/// Reads settings like [`load`]. The keys of each pair in `exclusive` exclude each other: an override of one key
/// removes the other from the file's text. For example, `training.steps=…` on the command line replaces the file's
/// `training.tokens`.
///
/// # Errors
/// Fails as [`load`] does.
pub fn load_exclusive<T: DeserializeOwned>(
    path: &Path,
    overrides: &[String],
    exclusive: &[[&str; 2]],
) -> Result<T, ConfigError> {
    let text = overrides::expand_home_paths(&polymath_input::read_text(path)?);
    let kept = overrides::without_exclusive_counterparts(&text, overrides, exclusive);
    parse(path, &kept, overrides)
}

/// Reads the settings `T` from `overrides` alone, without a file.
///
/// # Errors
/// Fails as [`load`] does, except for reading the file.
pub fn from_overrides<T: DeserializeOwned>(overrides: &[String]) -> Result<T, ConfigError> {
    parse(Path::new("command line"), "", overrides)
}

/// Returns the text of a config with `overrides` applied, comments included. An override of one key of an `exclusive`
/// pair removes the other key, as in [`load_exclusive`]. `path` is only named in errors.
///
/// # Errors
/// Fails on broken TOML, or an override that can't be applied.
pub fn overridden(
    path: &Path,
    text: &str,
    overrides: &[String],
    exclusive: &[[&str; 2]],
) -> Result<String, ConfigError> {
    let kept = overrides::without_exclusive_counterparts(text, overrides, exclusive);
    overrides::apply(path, &kept, overrides)
}

/// Returns the keys of the table that `T` is read from; empty if `T` accepts unknown keys.
pub fn known_keys<T: DeserializeOwned>() -> Vec<String> {
    let unknown = toml::from_str::<T>("\"?\" = 0").err();
    let message = unknown.map_or_else(String::new, |error| error.message().to_owned());
    let quoted = message.split('`').skip(1).step_by(2);
    quoted.skip(1).map(str::to_owned).collect()
}

/// Reads the settings `T` from `text`; `path` is used in errors only.
///
/// # Errors
/// Fails as [`load`] does, except for reading the file.
pub fn parse<T: DeserializeOwned>(
    path: &Path,
    text: &str,
    overrides: &[String],
) -> Result<T, ConfigError> {
    let merged = overrides::expand_home_paths(&overrides::apply(path, text, overrides)?);
    toml::from_str(&merged).map_err(|error| {
        let missing = missing::keys::<T>(&merged, &error);
        if missing.len() > 1 {
            return ConfigError::File {
                path: path.to_path_buf(),
                message: format!("the keys `{}` are missing", missing.join("`, `")),
            };
        }
        explain(path, text, &merged, overrides, &error)
    })
}

/// Relates a parser error to a line of the user's file, or to the override that caused it.
fn explain(
    path: &Path,
    text: &str,
    merged: &str,
    overrides: &[String],
    error: &toml::de::Error,
) -> ConfigError {
    let message = readable(error.message());
    let path = path.to_path_buf();
    let Some(span) = error.span() else {
        return ConfigError::File { path, message };
    };
    let faulty = line_at(merged, span.start);
    let own_line = text.lines().position(|line| line == faulty);
    let from_command_line = overrides.iter().find(|argument| {
        let key = argument.split('=').next().unwrap_or_default();
        let last = key.rsplit('.').next().unwrap_or_default().trim();
        own_line.is_none() && faulty.trim_start().starts_with(last)
    });
    match (own_line, from_command_line) {
        // A missing key is reported at the first line, which may be an override.
        (_, Some(argument)) if !message.starts_with("the key") => ConfigError::Override {
            argument: argument.clone(),
            message,
        },
        // The parser reports a missing key at the first line of its table, which alone would not help.
        (Some(line), _) if !message.starts_with("the key") => ConfigError::Line {
            path,
            line: line + 1,
            message,
        },
        (Some(_), None) if faulty.starts_with('[') => ConfigError::File {
            path,
            message: format!("{message}, in `{}`", faulty.trim()),
        },
        _ => ConfigError::File { path, message },
    }
}

/// Rephrases Serde's messages in plain words, and adds the nearest known key if a key or value is unknown.
fn readable(message: &str) -> String {
    if let Some(rest) = message.strip_prefix("missing field ") {
        return format!("the key {rest} is missing");
    }
    let kind = if message.starts_with("unknown field ") {
        "key"
    } else if message.starts_with("unknown variant ") {
        "value"
    } else {
        return message.to_owned();
    };
    let mut quoted = message.split('`').skip(1).step_by(2);
    let unknown = quoted.next().unwrap_or_default();
    let known: Vec<&str> = quoted.collect();
    let hint = match nearest(unknown, &known) {
        Some(key) => format!("did you mean `{key}`?"),
        None => String::new(),
    };
    let list = known
        .iter()
        .map(|key| format!("`{key}`"))
        .collect::<Vec<_>>()
        .join(", ");
    format!("unknown {kind} `{unknown}`: {hint} (known here: {list})").replace(":  (", " (")
}

/// Returns the member of `known` that is most similar to `word`, if one is similar enough to be a likely typo.
pub fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    known
        .iter()
        .map(|key| (strsim::jaro_winkler(word, key), *key))
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, key)| key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Training {
        learning_rate: f64,
        #[serde(default)]
        steps: Option<u64>,
    }

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Settings {
        run: String,
        training: Training,
    }

    const TEXT: &str = "run = \"a\"\n\n[training]\nlearning_rate = 1e-3\n";

    fn read(text: &str, overrides: &[&str]) -> Result<Settings, ConfigError> {
        let overrides: Vec<String> = overrides.iter().map(ToString::to_string).collect();
        parse(Path::new("a.toml"), text, &overrides)
    }

    #[test]
    fn overrides_replace_and_add_values() {
        let settings = read(
            TEXT,
            &["training.steps=7", "run=b", "training.learning_rate=2e-3"],
        )
        .unwrap();
        assert_eq!(settings.run, "b");
        assert_eq!(settings.training.steps, Some(7));
        assert_eq!(settings.training.learning_rate, 2e-3);
    }

    #[test]
    fn an_unknown_key_names_file_line_and_nearest_key() {
        let error = read("run = \"a\"\n\n[training]\nlearning_rates = 1e-3\n", &[]).unwrap_err();
        let sentence = error.to_string();
        assert!(sentence.contains("`a.toml`, line 4"), "{sentence}");
        assert!(
            sentence.contains("did you mean `learning_rate`?"),
            "{sentence}"
        );
    }

    #[test]
    fn an_unknown_override_is_blamed_on_the_command_line() {
        let error = read(TEXT, &["training.stepz=7"]).unwrap_err().to_string();
        assert!(error.contains("override `training.stepz=7`"), "{error}");
        assert!(error.contains("did you mean `steps`?"), "{error}");
    }

    #[test]
    fn an_override_without_a_value_is_refused() {
        let error = read(TEXT, &["training.steps"]).unwrap_err().to_string();
        assert!(error.contains("expected `key=value`"), "{error}");
    }

    #[test]
    fn a_missing_key_is_named() {
        let error = read("run = \"a\"\n[training]\nsteps = 3\n", &[])
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("the key `learning_rate` is missing"),
            "{error}"
        );
        assert!(error.contains("[training]"), "{error}");
    }

    #[test]
    fn all_missing_keys_are_named_at_once() {
        let error = read("[training]\nsteps = 3\n", &[])
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "`a.toml`: the keys `training.learning_rate`, `run` are missing"
        );
        let error = from_overrides::<Settings>(&[]).unwrap_err().to_string();
        assert!(
            error.contains("the keys `run`, `training`, `training.learning_rate` are missing"),
            "{error}"
        );
        let error = from_overrides::<Settings>(&["training.learning_rate=1".to_owned()]);
        let error = error.unwrap_err().to_string();
        assert!(
            error.starts_with("`command line`: the key `run` is missing"),
            "{error}"
        );
        let given = ["run=a", "training.learning_rate=1e-3"].map(str::to_owned);
        assert_eq!(from_overrides::<Settings>(&given).unwrap().run, "a");
    }

    #[test]
    fn known_keys_are_listed() {
        assert_eq!(known_keys::<Training>(), ["learning_rate", "steps"]);
    }

    #[test]
    fn broken_toml_names_its_line() {
        let error = read("run = \"a\"\n[training\n", &[])
            .unwrap_err()
            .to_string();
        assert!(error.contains("line 2"), "{error}");
    }
}
