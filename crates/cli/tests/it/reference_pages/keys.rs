//! Reference page of configuration keys.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::sources::{Key, Kind, Sources, Table};

/// Kind of configuration file: the command that reads it, its struct, and the struct's crate.
pub struct Root {
    pub command: &'static str,
    pub table: &'static str,
    pub krate: &'static str,
}

pub const ROOTS: [Root; 5] = [
    Root {
        command: "prepare",
        table: "PrepareConfig",
        krate: "data",
    },
    Root {
        command: "pretrain",
        table: "PretrainConfig",
        krate: "pretrain",
    },
    Root {
        command: "finetune",
        table: "FinetuneConfig",
        krate: "finetune",
    },
    Root {
        command: "frontier",
        table: "FrontierConfig",
        krate: "study",
    },
    Root {
        command: "transfer",
        table: "TransferConfig",
        krate: "study",
    },
];

/// Table of a configuration file, with its path. The path of the file's root is empty.
pub struct Place {
    pub path: Vec<String>,
    pub table: Table,
}

/// Returns all tables of a file, the root first.
pub fn places(sources: &Sources, root: &Root) -> Vec<Place> {
    let table = sources
        .table(root.table, root.krate)
        .unwrap_or_else(|| panic!("no {}", root.table));
    let mut found = Vec::new();
    walk(sources, Vec::new(), table, &mut found);
    found
}

fn walk(sources: &Sources, path: Vec<String>, table: Table, found: &mut Vec<Place>) {
    let below: Vec<(Vec<String>, Table)> = table
        .keys
        .iter()
        .filter_map(|key| {
            let (name, more) = match &key.kind {
                Kind::Table(name) => (name, None),
                Kind::Tables(name) => (name, Some("<name>".to_owned())),
                _ => return None,
            };
            let inner = sources.table(name, &table.krate).unwrap_or_else(|| {
                panic!(
                    "{}: `{}`: no struct `{name}` in the sources",
                    table.name, key.name
                )
            });
            let path = path
                .iter()
                .cloned()
                .chain([key.name.clone()])
                .chain(more)
                .collect();
            Some((path, inner))
        })
        .collect();
    found.push(Place { path, table });
    for (path, table) in below {
        walk(sources, path, table, found);
    }
}

/// Returns the text of the page of configuration keys.
pub fn page(sources: &Sources) -> String {
    let mut text = String::from(
        "# Configuration keys\n\n<!-- Generated from the sources by `just reference`; a test fails while it is stale. -->\n\n\
         Configurations are TOML files. Any key can be changed on the command line, as in `training.steps=100`; an unknown key is\n\
         answered with its line and the nearest known one. Paths are relative to the folder in which the command runs.\n\n\
         The tables of `frontier` and `transfer` under `[shared]` and `[runs.<name>]` have the keys of `finetune`.\n",
    );
    let all: Vec<(&Root, Vec<Place>)> = ROOTS
        .iter()
        .map(|root| (root, places(sources, root)))
        .collect();
    let shared = shared(&all);
    for (root, places) in &all {
        write!(text, "\n## `{}`\n", root.command).unwrap();
        for place in places {
            if shared.contains(&place.table.name) {
                continue;
            }
            section(&mut text, place, &format!("{} ", root.command));
        }
        let elsewhere: Vec<&Place> = places
            .iter()
            .filter(|place| shared.contains(&place.table.name))
            .collect();
        if !elsewhere.is_empty() {
            let names: Vec<String> = elsewhere
                .iter()
                .map(|place| format!("`[{}]`", place.path.join(".")))
                .collect();
            write!(text, "\nAnd the tables {} below.\n", names.join(", ")).unwrap();
        }
    }
    text += "\n## Tables of several commands\n";
    let mut seen = BTreeSet::new();
    for place in all.iter().flat_map(|(_, places)| places) {
        if shared.contains(&place.table.name) && seen.insert(place.table.name.clone()) {
            section(&mut text, place, "");
        }
    }
    text
}

/// Returns the names of the structs that occur in several files.
fn shared(all: &[(&Root, Vec<Place>)]) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    let mut several = BTreeSet::new();
    for (_, places) in all {
        let names: BTreeSet<&String> = places.iter().map(|place| &place.table.name).collect();
        for name in names {
            if !seen.insert(name) {
                several.insert(name.clone());
            }
        }
    }
    several
}

fn section(text: &mut String, place: &Place, command: &str) {
    if !place.path.is_empty() {
        write!(text, "\n### {command}`[{}]`\n", place.path.join(".")).unwrap();
    }
    if !place.path.is_empty() && !place.table.doc.is_empty() {
        write!(text, "\n{}\n", place.table.doc).unwrap();
    }
    text.push_str("\n| key | type | default | meaning |\n|---|---|---|---|\n");
    for key in &place.table.keys {
        let default = match (&key.default, key.required) {
            (Some(value), _) => format!("`{value}`"),
            (None, true) => "required".into(),
            (None, false) => "–".into(),
        };
        let mut meaning = key.doc.replace('|', "\\|");
        for alias in &key.aliases {
            write!(meaning, " Old name: `{alias}`.").unwrap();
        }
        writeln!(
            text,
            "| `{}` | {} | {default} | {} |",
            key.name,
            kind(key),
            meaning.trim()
        )
        .unwrap();
    }
}

/// Returns the type of a key, with its unit.
pub fn kind(key: &Key) -> String {
    match &key.kind {
        Kind::Plain(word) => match unit(&key.name) {
            Some(unit) if word == "integer" || word == "number" => format!("{word}, {unit}"),
            _ => word.clone(),
        },
        Kind::Choice(words) => {
            let words: Vec<String> = words.iter().map(|word| format!("`\"{word}\"`")).collect();
            words.join(", ")
        }
        Kind::Table(_) => "table".into(),
        Kind::Tables(_) => "tables by name".into(),
    }
}

/// Returns the unit of a number, judged by the name of its key.
fn unit(key: &str) -> Option<&'static str> {
    let units = [
        ("accumulation_steps", "parts"),
        ("tokens", "tokens"),
        ("sequence_length", "tokens"),
        ("vocab_size", "tokens"),
        ("longest_conversation", "tokens"),
        ("sliding_window", "tokens"),
        ("position_embeddings", "tokens"),
        ("steps", "steps"),
        ("every", "steps"),
        ("batch_size", "rows"),
        ("sample_bytes", "bytes"),
        ("_groups", "groups"),
        ("_fraction", "share of 1"),
        ("_ratio", "share of 1"),
        ("share", "share of 1"),
        ("dropout", "share of 1"),
        ("limit", "bits per byte"),
    ];
    units
        .into_iter()
        .find(|(end, _)| key.ends_with(end))
        .map(|(_, unit)| unit)
}
