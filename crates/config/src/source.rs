//! Reading of settings from a TOML table that was assembled from parts of a configuration file.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use crate::missing::line_at;
use crate::{ConfigError, overrides, readable};

/// Text of a configuration file, kept so that a later error can name the line of a key.
#[derive(Debug, Clone)]
pub struct Source {
    path: PathBuf,
    text: String,
}

impl Source {
    /// Reads the configuration file at `path`.
    ///
    /// # Errors
    /// Fails if the file can't be read.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = overrides::expand_home_paths(&polymath_input::read_text(path)?);
        Ok(Self::new(path, &text))
    }

    /// Creates the source from `text`; `path` is used in errors only.
    pub fn new(path: &Path, text: &str) -> Self {
        Self {
            path: path.to_path_buf(),
            text: text.to_owned(),
        }
    }

    /// Reads the settings `T` from a table that was assembled from parts of the file.
    ///
    /// # Errors
    /// Fails if a key is unknown (the message names the nearest known one) or missing, or if a value has the wrong
    /// type. The message names the line of the file if only one line has such a key.
    pub fn read_table<T: DeserializeOwned>(&self, table: &toml::Table) -> Result<T, ConfigError> {
        let together = toml::to_string(table).expect("a table of TOML is TOML");
        toml::from_str(&together).map_err(|error: toml::de::Error| {
            let message = readable(error.message());
            let faulty = error
                .span()
                .map_or("", |span| line_at(&together, span.start));
            let key = faulty.split('=').next().unwrap_or_default().trim();
            // The parser reports a missing key at the first line of its table.
            let is_missing = message.starts_with("the key") || key.starts_with('[');
            let path = self.path.clone();
            match self.lines_with(key)[..] {
                _ if is_missing || key.is_empty() => ConfigError::File { path, message },
                [line] => ConfigError::Line {
                    path,
                    line,
                    message,
                },
                _ => ConfigError::File {
                    path,
                    message: format!("{message}, at `{key}`"),
                },
            }
        })
    }

    /// Returns the line numbers, counted from 1, of the lines that set `key`.
    fn lines_with(&self, key: &str) -> Vec<usize> {
        let gives = |line: &str| {
            let line = line.split('#').next().unwrap_or_default();
            line.match_indices(key).any(|(at, _)| {
                let before = line[..at].chars().next_back();
                let whole = before.is_none_or(|letter| !is_key_character(letter));
                whole && line[at + key.len()..].trim_start().starts_with('=')
            })
        };
        let lines = (1..).zip(self.text.lines());
        lines
            .filter(|(_, line)| gives(line))
            .map(|(number, _)| number)
            .collect()
    }
}

fn is_key_character(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_' || letter == '-'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code, reason = "only whether they can be read matters")]
    struct Settings {
        rate: f64,
        steps: Option<u64>,
    }

    const TEXT: &str = "[shared]\nrate = 0.1 # step = 1\n\n[runs.a]\nstep = 3\n[runs.b]\nsteps = \"x\"\n[runs.c]\nsteps = 3\n";

    fn read(run: &str) -> String {
        let all: toml::Table = TEXT.parse().unwrap();
        let mut table = all["shared"].as_table().unwrap().clone();
        table.extend(all["runs"][run].as_table().unwrap().clone());
        let source = Source::new(Path::new("a.toml"), TEXT);
        match source.read_table::<Settings>(&table) {
            Ok(_) => "read".into(),
            Err(error) => error.to_string(),
        }
    }

    /// Checks that a wrong key is reported with its line, or by name only if several lines have it.
    #[test]
    fn wrong_keys_are_reported_with_their_line() {
        let error = read("a");
        assert!(
            error.contains("`a.toml`, line 5: unknown key `step`: did you mean `steps`?"),
            "{error}"
        );
        let error = read("b");
        assert!(
            error.contains("`a.toml`: ") && error.contains("at `steps`"),
            "{error}"
        );
        assert_eq!(read("c"), "read");
        let source = Source::new(Path::new("a.toml"), TEXT);
        let empty = source.read_table::<Settings>(&toml::Table::new());
        assert!(
            empty
                .unwrap_err()
                .to_string()
                .contains("the key `rate` is missing")
        );
    }
}
