//! What a card says of paths: those of this machine are nobody else's business.

use std::path::Path;

/// A path as others may see it: of an absolute one, only its end.
pub fn shown(path: &Path) -> String {
    if path.is_absolute() {
        let end = path.file_name().unwrap_or_default().to_string_lossy();
        return format!("…/{end}");
    }
    let path = path.strip_prefix("./").unwrap_or(path);
    path.display().to_string()
}

/// A config with its absolute paths cut to their ends.
pub fn without_places(value: &toml::Value) -> toml::Value {
    match value {
        toml::Value::String(text) if Path::new(text).is_absolute() => {
            toml::Value::String(shown(Path::new(text)))
        }
        toml::Value::Array(values) => {
            toml::Value::Array(values.iter().map(without_places).collect())
        }
        toml::Value::Table(table) => {
            let entries = table.iter();
            let shown = entries.map(|(key, value)| (key.clone(), without_places(value)));
            toml::Value::Table(shown.collect())
        }
        value => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Absolute paths are cut wherever they stand; everything else stays, in its order.
    #[test]
    fn places_of_this_machine_are_cut() {
        let text = "seed = 1\nrun = \"/home/someone/runs/a\"\ntexts = [\"notes/*.md\", \"/tmp/b.txt\"]\n\n[t]\nx = \"/y\"\n";
        let value: toml::Value = toml::Value::Table(text.parse().unwrap());
        let shown = toml::to_string(&without_places(&value)).unwrap();
        assert_eq!(
            shown,
            "seed = 1\nrun = \"…/a\"\ntexts = [\"notes/*.md\", \"…/b.txt\"]\n\n[t]\nx = \"…/y\"\n"
        );
    }
}
