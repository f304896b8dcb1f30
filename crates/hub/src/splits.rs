//! Assignment of a dataset's files to splits: as declared by the dataset's card, or else by the file names, with the
//! rules of the `datasets` library.

use std::collections::BTreeSet;

use serde::Deserialize;

use crate::card::front_matter;
use crate::dataset::Pattern;

/// Words in file names that identify a split; the first word of each row is the name of the split.
const WORDS: [&[&str]; 3] = [
    &["train", "training"],
    &["validation", "valid", "val", "dev"],
    &["test", "testing", "eval", "evaluation"],
];

/// Assignment of data files to splits that a dataset's card declares.
#[derive(Default, Deserialize)]
struct Card {
    #[serde(default)]
    configs: Vec<Configuration>,
}

#[derive(Deserialize)]
struct Configuration {
    config_name: String,
    #[serde(default)]
    data_files: Option<DataFiles>,
    #[serde(default)]
    data_dir: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum DataFiles {
    Splits(Vec<SplitFiles>),
    /// Paths without a split name; all files belong to the training split.
    Training(Paths),
}

#[derive(Deserialize)]
struct SplitFiles {
    split: String,
    path: Paths,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Paths {
    One(String),
    Many(Vec<String>),
}

impl Paths {
    fn all(&self) -> &[String] {
        match self {
            Self::One(path) => std::slice::from_ref(path),
            Self::Many(paths) => paths,
        }
    }
}

/// Splits of a dataset repository, found from its file names and its card.
pub(crate) struct Splits<'a> {
    names: &'a [String],
    card: Card,
}

impl<'a> Splits<'a> {
    /// Creates the splits from the file names and the text of the card. A card that can't be parsed counts as empty.
    pub(crate) fn new(names: &'a [String], card: &str) -> Self {
        let facts = front_matter(card).and_then(|yaml| serde_saphyr::from_str(yaml).ok());
        Self {
            names,
            card: facts.unwrap_or_default(),
        }
    }

    /// Returns the files of `split`, `configuration/split` or a whole `configuration`, if the card declares it.
    pub(crate) fn declared(&self, which: &str) -> Option<Vec<String>> {
        let configurations = &self.card.configs;
        let named = |name: &str| configurations.iter().find(|one| one.config_name == name);
        if let Some((configuration, split)) = which.split_once('/') {
            return self.files(named(configuration)?, Some(split));
        }
        // A split without a configuration belongs to the configuration `default`, or to the only one.
        let standard = named("default").or(match configurations.as_slice() {
            [only] => Some(only),
            _ => None,
        });
        standard
            .and_then(|standard| self.files(standard, Some(which)))
            .or_else(|| self.files(named(which)?, None))
    }

    /// Returns the files of one split of a configuration, or of all its splits.
    fn files(&self, configuration: &Configuration, split: Option<&str>) -> Option<Vec<String>> {
        let all: Vec<(&str, &[String])> = match configuration.data_files.as_ref()? {
            DataFiles::Splits(splits) => splits
                .iter()
                .map(|one| (one.split.as_str(), one.path.all()))
                .collect(),
            DataFiles::Training(paths) => vec![("train", paths.all())],
        };
        let mut patterns = Vec::new();
        for (name, paths) in all {
            if split.is_none_or(|split| split == name) {
                patterns.extend(paths);
            }
        }
        if patterns.is_empty() {
            return None;
        }
        let folder = configuration.data_dir.as_deref().unwrap_or_default();
        let parts = |text: &str| -> Vec<String> {
            text.split('/')
                .filter(|part| !["", "."].contains(part))
                .map(str::to_owned)
                .collect()
        };
        let files = self.names.iter().filter(|name| {
            patterns.iter().any(|path| {
                let path = [parts(folder), parts(path)].concat().join("/");
                name.starts_with(&format!("{path}/"))
                    || Pattern::new(&path).is_ok_and(|pattern| pattern.matches(name))
            })
        });
        Some(files.cloned().collect())
    }

    /// Returns the files of `split`, or of `folder/split`, by the words in file names. If no name has such a word,
    /// all files belong to the training split.
    pub(crate) fn by_name(&self, which: &str, is_known: &dyn Fn(&str) -> bool) -> Vec<String> {
        let (folder, split) = match which.rsplit_once('/') {
            Some((folder, split)) => (format!("{folder}/"), split),
            None => (String::new(), which),
        };
        let within = |name: &&String| name.starts_with(&folder) && is_known(name);
        let files: Vec<&String> = self.names.iter().filter(within).collect();
        let of = |name: &str| split_of(&name[folder.len()..]);
        let silent = files.iter().all(|name| of(name).is_none());
        let asked = WORDS.iter().find(|words| words.contains(&split));
        let belongs = |name: &&&String| match asked {
            Some(words) if silent => words[0] == WORDS[0][0],
            Some(words) => of(name) == Some(words[0]),
            None => words_of(&name[folder.len()..]).any(|word| word == split),
        };
        files
            .iter()
            .filter(belongs)
            .map(|name| (*name).clone())
            .collect()
    }

    /// Describes the available splits, for an error message.
    pub(crate) fn known(&self, is_known: &dyn Fn(&str) -> bool) -> String {
        let mut splits = BTreeSet::new();
        for configuration in &self.card.configs {
            let prefix = match configuration.config_name.as_str() {
                "default" => String::new(),
                name => format!("{name}/"),
            };
            match &configuration.data_files {
                Some(DataFiles::Splits(all)) => {
                    splits.extend(all.iter().map(|one| format!("{prefix}{}", one.split)));
                }
                Some(DataFiles::Training(_)) => {
                    splits.insert(format!("{prefix}train"));
                }
                None => {}
            }
        }
        if splits.is_empty() {
            let files = self.names.iter().filter(|name| is_known(name));
            splits.extend(files.filter_map(|name| split_of(name)).map(str::to_owned));
        }
        match splits.is_empty() {
            true => "it has no splits".into(),
            false => {
                let splits: Vec<String> = splits.into_iter().collect();
                format!("it has the splits `{}`", splits.join("`, `"))
            }
        }
    }
}

/// Returns the split that a file's name or the names of its folders identify, or `None`.
fn split_of(name: &str) -> Option<&'static str> {
    let named = |words: &&&[&str]| words_of(name).any(|word| words.contains(&word));
    WORDS.iter().find(named).map(|words| words[0])
}

/// Splits a path into words at slashes, dots, hyphens, underscores, spaces and digits.
fn words_of(name: &str) -> impl Iterator<Item = &str> {
    name.split(|letter: char| "/.-_ ".contains(letter) || letter.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CARD: &str = "---\nlicense: mit\nconfigs:\n- config_name: plain\n  data_files: plain/*.jsonl\n- config_name: default\n  \
                        data_dir: d\n  data_files:\n  - split: train\n    path: [a-*.jsonl, more]\n  - split: test\n    \
                        path: t.jsonl\n---\ntext";

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    /// Checks the splits declared by a card: by split name, with the configuration, and a whole configuration.
    #[test]
    fn a_card_declares_splits() {
        let names = names(&[
            "d/a-0.jsonl",
            "d/more/b.jsonl",
            "d/t.jsonl",
            "plain/p.jsonl",
            "x.jsonl",
        ]);
        let splits = Splits::new(&names, CARD);
        assert_eq!(splits.declared("train").unwrap(), names[..2]);
        assert_eq!(splits.declared("test").unwrap(), ["d/t.jsonl"]);
        assert_eq!(splits.declared("default/test").unwrap(), ["d/t.jsonl"]);
        assert_eq!(splits.declared("plain/train").unwrap(), ["plain/p.jsonl"]);
        assert_eq!(splits.declared("default").unwrap(), names[..3]);
        assert_eq!(splits.declared("plain").unwrap(), ["plain/p.jsonl"]);
        assert_eq!(splits.declared("validation"), None);
        assert_eq!(splits.declared("plain/test"), None);
        let known = splits.known(&|_| true);
        assert!(known.ends_with("`plain/train`, `test`, `train`"), "{known}");
        assert_eq!(
            Splits::new(&names, "---\n: [\n---\n").declared("train"),
            None
        );
    }

    /// Checks that only whole words identify a split, and that without such words all files belong to the training
    /// split.
    #[test]
    fn file_names_tell_splits() {
        let all = names(&[
            "c/dev.jsonl",
            "c/train-00.jsonl",
            "c/trainers.jsonl",
            "test/1.jsonl",
        ]);
        let splits = Splits::new(&all, "");
        let by_name = |which: &str| splits.by_name(which, &|_| true);
        assert_eq!(by_name("train"), ["c/train-00.jsonl"]);
        assert_eq!(by_name("validation"), ["c/dev.jsonl"]);
        assert_eq!(by_name("c/train"), ["c/train-00.jsonl"]);
        assert_eq!(by_name("test"), ["test/1.jsonl"]);
        assert_eq!(by_name("trainers"), ["c/trainers.jsonl"]);
        assert!(by_name("c/test").is_empty());
        let silent = names(&["a.jsonl", "b.jsonl"]);
        let splits = Splits::new(&silent, "");
        assert_eq!(splits.by_name("train", &|_| true), silent);
        assert!(splits.by_name("test", &|_| true).is_empty());
    }
}
