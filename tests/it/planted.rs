//! Checks the list of planted faults: `scripts/check/planted-faults.py` finds every line, and each named test exists.

use std::collections::BTreeSet;
use std::path::Path;

#[test]
fn every_planted_fault_finds_its_line_and_its_tests() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let list = root.join("scripts/check/planted-faults.toml");
    let list: toml::Table = toml::from_str(&std::fs::read_to_string(list).unwrap()).unwrap();
    let faults = list["fault"].as_array().unwrap();
    assert!(faults.len() >= 30, "{} faults", faults.len());
    let mut names = BTreeSet::new();
    let mut wrong = Vec::new();
    for fault in faults {
        let text = |key: &str| fault[key].as_str().unwrap();
        let (name, file) = (text("name"), text("file"));
        if !names.insert(name) {
            wrong.push(format!("two faults are called `{name}`"));
        }
        let source = std::fs::read_to_string(root.join(file)).unwrap_or_default();
        let found = source.matches(text("old")).count();
        if found != 1 || text("old") == text("new") {
            wrong.push(format!(
                "`{name}`: `{}` stands {found} times in `{file}`",
                text("old")
            ));
        }
        for test in fault["tests"].as_array().unwrap() {
            let test = test.as_str().unwrap();
            if !has_test(root, test) {
                wrong.push(format!("`{name}`: there are no tests called `{test}`"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Returns true if a file of integration tests or a test program has this name. `lib NAME` stands for the unit tests
/// of a crate.
fn has_test(root: &Path, name: &str) -> bool {
    if let Some(name) = name.strip_prefix("lib ") {
        return root.join(format!("crates/{name}/src/lib.rs")).is_file();
    }
    let crates = std::fs::read_dir(root.join("crates")).unwrap();
    let folders = crates.map(|entry| entry.unwrap().path());
    let mut folders = folders.chain([root.to_owned()]);
    folders.any(|folder| {
        let file = |under: &str| folder.join(format!("{under}/{name}.rs"));
        file("tests/it").is_file() || file("tests").is_file()
    })
}
