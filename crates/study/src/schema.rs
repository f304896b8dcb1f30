//! Commented configs with every key, its type, unit and default: printed as they are, or with values filled in.
//!
//! The texts in `configs/` are generated from the doc comments of the configs' structs (`just reference`), as the
//! reference of keys is. A line that begins with `# ` is prose. One that begins with `#` and no space is a key or a
//! table that may be set.

use polymath_config::toml_key;
use toml::Value;

/// A kind of config.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigKind {
    /// Text and its domains.
    Prepare,
    /// Pretraining.
    Pretrain,
    /// Fine-tuning.
    Finetune,
    /// Comparison of methods.
    Frontier,
    /// Fine-tuning on each domain.
    Transfer,
}

/// Value to fill into a commented config, under a key of a table.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    /// Path of the table, one name per level; empty for the top level of the file.
    pub table: Vec<String>,
    /// Name of the key within the table.
    pub key: &'static str,
    /// Value to set.
    pub value: Value,
    /// Reason for the value, written as a comment behind it; empty for none.
    pub note: String,
}

impl Setting {
    /// Makes a setting that gives `key` in `table` this value, without a comment.
    pub fn of(table: &[&str], key: &'static str, value: impl Into<Value>) -> Self {
        Self {
            table: table.iter().map(|name| (*name).to_owned()).collect(),
            key,
            value: value.into(),
            note: String::new(),
        }
    }

    /// Adds the reason for the value, which is written as a comment behind it.
    #[must_use]
    pub fn because(self, note: &str) -> Self {
        Self {
            note: note.to_owned(),
            ..self
        }
    }
}

/// Placeholder in a table's path that stands for any name, such as that of a domain.
const ANY: &str = "<name>";

impl ConfigKind {
    /// Returns the name of the command that reads the config.
    pub fn name(self) -> &'static str {
        match self {
            Self::Prepare => "prepare",
            Self::Pretrain => "pretrain",
            Self::Finetune => "finetune",
            Self::Frontier => "frontier",
            Self::Transfer => "transfer",
        }
    }

    /// Returns the commented config that shows every key.
    pub fn schema(self) -> &'static str {
        match self {
            Self::Prepare => include_str!("../configs/prepare.toml"),
            Self::Pretrain => include_str!("../configs/pretrain.toml"),
            Self::Finetune => include_str!("../configs/finetune.toml"),
            Self::Frontier => include_str!("../configs/frontier.toml"),
            Self::Transfer => include_str!("../configs/transfer.toml"),
        }
    }

    /// Returns the commented config with `settings` filled in, below the comment lines of `head`. If a table with a
    /// free name (such as a domain's) occurs several times, only the first lists every key.
    ///
    /// # Panics
    /// Panics on a setting of a key that the schema does not have.
    pub fn filled(self, head: &str, settings: &[Setting]) -> String {
        let mut text: String = head.lines().map(|line| format!("# {line}\n")).collect();
        let mut used = 0;
        for block in self.schema().split("\n\n") {
            let path = path_of(block);
            let names = names(&path, settings);
            if names.is_empty() {
                text += &format!("\n{}\n", block.trim_end());
                continue;
            }
            for (number, table) in names.iter().enumerate() {
                let own = settings.iter().filter(|setting| setting.table == *table);
                let own: Vec<&Setting> = own.collect();
                used += own.len();
                text.push('\n');
                text += &match number {
                    0 => fill(block, table, &own),
                    _ => alone(table, &own),
                };
            }
        }
        assert_eq!(used, settings.len(), "a setting has no key in the schema");
        text
    }
}

/// Returns the path of the table that a block of the commented config describes; `None` for a block of prose.
fn path_of(block: &str) -> Option<Vec<&str>> {
    let mut lines = block.lines().filter(|line| is_commented_out(line));
    let first = lines.next()?;
    let path = first
        .strip_prefix("#[")
        .and_then(|rest| rest.strip_suffix(']'));
    Some(path.map_or_else(Vec::new, |path| path.split('.').collect()))
}

fn is_commented_out(line: &str) -> bool {
    line.starts_with('#') && !line.starts_with("# ") && line.len() > 1
}

/// Returns the tables among `settings` that match a path, in their order. [`ANY`] in the path matches any name.
fn names(path: &Option<Vec<&str>>, settings: &[Setting]) -> Vec<Vec<String>> {
    let Some(path) = path else { return Vec::new() };
    let mut found: Vec<Vec<String>> = Vec::new();
    for Setting { table, .. } in settings {
        let same = table.len() == path.len()
            && table
                .iter()
                .zip(path)
                .all(|(name, part)| *part == ANY || name == part);
        if same && !found.contains(table) {
            found.push(table.clone());
        }
    }
    found
}

/// Returns a block of the commented config with the table's header and the keys of the settings uncommented and set.
fn fill(block: &str, table: &[String], settings: &[&Setting]) -> String {
    let mut text = String::new();
    for line in block.lines() {
        let key = line
            .strip_prefix('#')
            .and_then(|rest| rest.split_once(" = "));
        let set = key
            .filter(|_| is_commented_out(line))
            .and_then(|(key, _)| settings.iter().find(|setting| setting.key == key));
        text += &match set {
            Some(setting) => set_line(setting),
            None if line.starts_with("#[") => header(table),
            None => line.to_owned(),
        };
        text.push('\n');
    }
    text
}

/// Returns a table with only the keys that are set, without comments.
fn alone(table: &[String], settings: &[&Setting]) -> String {
    let lines = settings.iter().map(|setting| set_line(setting) + "\n");
    format!("{}\n{}", header(table), lines.collect::<String>())
}

fn header(table: &[String]) -> String {
    let keys: Vec<String> = table.iter().map(|name| toml_key(name)).collect();
    format!("[{}]", keys.join("."))
}

fn set_line(setting: &Setting) -> String {
    let line = format!("{} = {}", setting.key, setting.value);
    match setting.note.is_empty() {
        true => line,
        false => format!("{line}  # {}", setting.note),
    }
}

/// Number of held-out groups of each retained domain in a generated config, if the domain has twice as many: about half
/// of them are in `test`, usually enough for a verdict.
pub(crate) const HELD_OUT: i64 = 40;
/// Forgetting limit in a generated config, in bits per byte.
pub(crate) const LIMIT: f64 = 0.02;

/// Returns the name itself or, if `is_taken` returns true for it, the first free one of `name-2`, `name-3` and so on.
pub(crate) fn free_name(name: String, is_taken: impl Fn(&str) -> bool) -> String {
    let numbered = (2..).map(|number| format!("{name}-{number}"));
    let mut names = std::iter::once(name.clone()).chain(numbered);
    names.find(|name| !is_taken(name)).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that the settings are filled in, and all other keys stay comments.
    #[test]
    fn settings_are_filled_in() {
        let paths = |path: &str| Value::Array(vec![path.into()]);
        let settings = [
            Setting::of(&[], "output", "data").because("as asked"),
            Setting::of(&["domains", "notes"], "paths", paths("notes")),
            Setting::of(&["domains", "v1.2"], "paths", paths("v1.2")),
        ];
        let text = ConfigKind::Prepare.filled("Of notes.", &settings);
        assert!(text.starts_with("# Of notes.\n"), "{text}");
        assert!(text.contains("\noutput = \"data\"  # as asked\n"), "{text}");
        assert!(text.contains("\n#heldout_fraction = 0.05\n"), "{text}");
        let read: polymath_data::PrepareConfig = toml::from_str(&text).unwrap();
        assert_eq!(read.domains.len(), 2);
        assert_eq!(read.domains["v1.2"].paths, ["v1.2"]);
        assert_eq!(text.matches("#heldout_groups").count(), 1);
    }

    /// Checks that every schema parses and sets nothing.
    #[test]
    fn schemas_set_nothing() {
        for kind in [
            ConfigKind::Prepare,
            ConfigKind::Pretrain,
            ConfigKind::Finetune,
            ConfigKind::Frontier,
            ConfigKind::Transfer,
        ] {
            assert!(kind.schema().parse::<toml::Table>().unwrap().is_empty());
            assert!(kind.schema().lines().count() > 10);
        }
    }
}
