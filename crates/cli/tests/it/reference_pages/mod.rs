//! Reference pages, generated from the configuration structs and the parser, and compared with those in the
//! repository.
//!
//! `just reference` writes them again.

mod commands;
mod keys;
mod schemas;
mod sources;
mod syntax;

use std::collections::BTreeSet;
use std::path::Path;

use keys::{Place, ROOTS, Root, places};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sources::Sources;
use toml::{Table, Value};

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// Checks that a page of the reference equals the one in the repository.
fn check(name: &str, page: &str) {
    check_file(&format!("docs/reference/{name}"), page);
}

/// Checks that a generated file equals the one in the repository. If `POLYMATH_WRITE_REFERENCE` is set, writes it
/// first.
fn check_file(name: &str, page: &str) {
    let path = root().join(name);
    if std::env::var_os("POLYMATH_WRITE_REFERENCE").is_some() {
        std::fs::write(&path, page).unwrap();
    }
    let stored = std::fs::read_to_string(&path).unwrap_or_default();
    let different = stored
        .lines()
        .zip(page.lines())
        .find(|(old, new)| old != new);
    assert!(
        stored == page,
        "{name} is stale: run `just reference`. First difference: {different:?}"
    );
}

#[test]
fn page_of_commands_is_up_to_date() {
    check("commands.md", &commands::page());
}

#[test]
fn page_of_keys_is_up_to_date() {
    check("configuration.md", &keys::page(&Sources::read(root())));
}

/// Checks that the page of the audit set names its version, its SHA-256 and the number of each kind of content.
#[test]
fn page_of_the_audit_set_is_up_to_date() {
    let page = std::fs::read_to_string(root().join("docs/reference/audit-set.md")).unwrap();
    let set = polymath_data::audit_set::audit_set();
    let (domains, documents) = (set.domains.len(), set.domains[0].documents.len());
    for row in [
        format!("| version | {} |", set.version),
        format!("| SHA-256 | `{}` |", set.sha256),
        format!(
            "| {domains} domains of {documents} documents, {} kB |",
            set.bytes() / 1000
        ),
        format!("| {} items with 4 choices |", set.choices.items.len()),
        format!("| questions with exact answers | {} |", set.questions.len()),
        format!(
            "| format instructions | {}, of 18 kinds |",
            set.formats.len()
        ),
        format!(
            "| {0} to refuse and {0} harmless look-alikes |",
            set.requests.len() / 2
        ),
    ] {
        assert!(
            page.contains(&row),
            "docs/reference/audit-set.md has no `{row}`"
        );
    }
}

/// Checks that the commented configs have every key and are TOML.
#[test]
fn schemas_are_up_to_date() {
    let sources = Sources::read(root());
    for file in &ROOTS {
        let schema = schemas::schema(&sources, file);
        assert!(schema.parse::<Table>().unwrap().is_empty());
        check_file(
            &format!("crates/study/configs/{}.toml", file.command),
            &schema,
        );
    }
}

/// Returns a config with the required keys of every table and some values.
fn sample(command: &str) -> Table {
    let text = match command {
        "prepare" => "output = \"o\"\n[domains.a]\n",
        "pretrain" => {
            "dataset = \"d\"\nrun = \"r\"\n[model]\nhidden_size = 8\nnum_hidden_layers = 1\nnum_attention_heads = 1\n"
        }
        "finetune" => {
            "base = \"b\"\nrun = \"r\"\n[retention.ewc]\nstrength = 1.0\n[retention.distill]\nstrength = 1.0\n"
        }
        "frontier" => "output = \"o\"\nshared = {}\n",
        "transfer" => "output = \"o\"\ndatasets = [\"d\"]\nshared = {}\n",
        _ => unreachable!("no sample of {command}"),
    };
    text.parse().unwrap()
}

/// Parses a config and returns it as the program understands it, or the error message.
fn read(command: &str, file: &Table) -> Result<Value, String> {
    fn through<T: DeserializeOwned + Serialize>(file: &Table) -> Result<Value, String> {
        let text = toml::to_string(file).unwrap();
        let config: T = toml::from_str(&text).map_err(|error| error.to_string())?;
        Ok(Value::try_from(config).unwrap())
    }
    match command {
        "prepare" => through::<polymath_data::PrepareConfig>(file),
        "pretrain" => through::<polymath_pretrain::PretrainConfig>(file),
        "finetune" => through::<polymath_finetune::FinetuneConfig>(file),
        "frontier" => through::<polymath_study::frontier::FrontierConfig>(file),
        "transfer" => through::<polymath_study::transfer::TransferConfig>(file),
        _ => unreachable!("no config of {command}"),
    }
}

/// Returns the table at a path, adding it if it is missing.
fn at<'a>(file: &'a mut Table, path: &[String]) -> &'a mut Table {
    path.iter().fold(file, |table, name| {
        let name = if name == "<name>" { "a" } else { name };
        let below = table
            .entry(name)
            .or_insert_with(|| Value::Table(Table::new()));
        below.as_table_mut().unwrap()
    })
}

/// Returns the sample config with every table of the file.
fn whole(root: &Root, places: &[Place]) -> Table {
    let mut file = sample(root.command);
    for place in places {
        at(&mut file, &place.path);
    }
    file
}

/// Checks that the keys on the page are those that the program accepts: its error for an unknown key lists them.
#[test]
fn keys_are_those_that_the_program_reads() {
    let sources = Sources::read(root());
    for file in &ROOTS {
        let places = places(&sources, file);
        for place in &places {
            let mut asked = whole(file, &places);
            at(&mut asked, &place.path).insert("zzz".into(), Value::Integer(1));
            let message = read(file.command, &asked).unwrap_err();
            let expected = message
                .split("expected ")
                .nth(1)
                .unwrap_or_else(|| panic!("{message}"));
            let read: BTreeSet<&str> = expected.split('`').skip(1).step_by(2).collect();
            let shown: BTreeSet<&str> = place
                .table
                .keys
                .iter()
                .flat_map(|key| key.aliases.iter().chain([&key.name]))
                .map(String::as_str)
                .collect();
            assert_eq!(shown, read, "{} [{}]", file.command, place.path.join("."));
        }
    }
}

/// Checks that every default on the page is right: a config with it means the same as one without.
#[test]
fn defaults_are_those_of_the_program() {
    let sources = Sources::read(root());
    let mut seen = 0;
    for file in &ROOTS {
        let places = places(&sources, file);
        let without = whole(file, &places);
        let meant = read(file.command, &without).unwrap();
        for place in &places {
            for key in &place.table.keys {
                let Some(default) = &key.default else {
                    continue;
                };
                let mut with = without.clone();
                let value: Table = format!("key = {default}")
                    .parse()
                    .unwrap_or_else(|e| panic!("{default}: {e}"));
                let table = at(&mut with, &place.path);
                if table.contains_key(&key.name) {
                    continue;
                }
                table.insert(key.name.clone(), value["key"].clone());
                let name = format!(
                    "{} [{}] {} = {default}",
                    file.command,
                    place.path.join("."),
                    key.name
                );
                let read =
                    read(file.command, &with).unwrap_or_else(|error| panic!("{name}: {error}"));
                assert_eq!(read, meant, "{name}");
                seen += 1;
            }
        }
    }
    assert!(seen >= 30, "only {seen} defaults were found in the sources");
}
