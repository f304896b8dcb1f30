//! Paths in a model card: absolute paths are shortened to their last part.

use std::path::Path;

/// Returns a path for publication: an absolute path is shortened to its last part.
pub fn shown(path: &Path) -> String {
    if path.is_absolute() {
        let end = path.file_name().unwrap_or_default().to_string_lossy();
        return format!("…/{end}");
    }
    let path = path.strip_prefix("./").unwrap_or(path);
    path.display().to_string()
}

/// Returns a configuration whose absolute paths are shortened to their last part.
pub fn without_local_paths(value: &toml::Value) -> toml::Value {
    match value {
        toml::Value::String(text) if Path::new(text).is_absolute() => {
            toml::Value::String(shown(Path::new(text)))
        }
        toml::Value::Array(values) => {
            toml::Value::Array(values.iter().map(without_local_paths).collect())
        }
        toml::Value::Table(table) => {
            let entries = table.iter();
            let shown = entries.map(|(key, value)| (key.clone(), without_local_paths(value)));
            toml::Value::Table(shown.collect())
        }
        value => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that absolute paths are shortened at any depth, and that everything else stays in its order.
    #[test]
    fn absolute_paths_are_shortened() {
        let text = "seed = 1\nrun = \"/home/someone/runs/a\"\ntexts = [\"notes/*.md\", \"/tmp/b.txt\"]\n\n[t]\nx = \"/y\"\n";
        let value: toml::Value = toml::Value::Table(text.parse().unwrap());
        let shown = toml::to_string(&without_local_paths(&value)).unwrap();
        assert_eq!(
            shown,
            "seed = 1\nrun = \"…/a\"\ntexts = [\"notes/*.md\", \"…/b.txt\"]\n\n[t]\nx = \"…/y\"\n"
        );
    }
}
