//! Test that only this crate opens files by path and renames them into place. Opening a path directly can block
//! forever on a named pipe, and renaming directly does not sync.

use std::path::{Path, PathBuf};

/// Calls of the standard library that bypass this crate's functions.
const FORBIDDEN: [&str; 4] = [
    "File::open(",
    "fs::read(",
    "fs::read_to_string(",
    "fs::rename(",
];
/// Exceptions to the rule: a file, and a part of the line that is allowed in it.
const ALLOWED: [(&str, &str); 8] = [
    // A pipe that the user names for the prompt.
    ("cli/src/commands/generate.rs", "fs::File::open(pipe)"),
    // Process status from the kernel.
    ("cli/src/signals.rs", "/proc/self/status"),
    ("cli/src/commands/bench.rs", "/proc/self/status"),
    // Links and checkpoints of a run; the caller syncs their folder.
    ("train/src/run_folder.rs", "fs::rename("),
    ("train/src/run_folder/rotation.rs", "fs::rename("),
    // Parts of the hub's cache, which are verified by their digests.
    ("hub/src/resume.rs", "fs::rename("),
    // A folder that is opened to sync it.
    ("data/src/preparation/prepare.rs", "fs::File::open(folder)"),
    // Opened again after a check that it is a regular file.
    ("model/src/safetensors_file.rs", "File::open(&self.path)"),
];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn no_crate_bypasses_durable_reads_and_renames() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut files = Vec::new();
    for entry in std::fs::read_dir(crates).unwrap() {
        let path = entry.unwrap().path();
        if !path.ends_with("base") && path.join("src").is_dir() {
            sources(&path.join("src"), &mut files);
        }
    }
    assert!(files.len() > 100);
    let mut around = Vec::new();
    for path in files {
        let name = path.strip_prefix(crates).unwrap().display().to_string();
        let text = std::fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap();
        if name.ends_with("tests.rs") {
            continue;
        }
        for (number, line) in (1..).zip(code.lines()) {
            let used = FORBIDDEN.iter().any(|way| {
                let before = line.find(way).map(|at| &line[..at]);
                // Neither `ParquetFile::open(` nor a comment bypasses this crate.
                before.is_some_and(|before| !before.ends_with(char::is_alphanumeric))
            });
            let meant = ALLOWED
                .iter()
                .any(|(file, part)| name == *file && line.contains(part));
            if used && !meant && !line.trim_start().starts_with("//") {
                around.push(format!("crates/{name}:{number}: {}", line.trim()));
            }
        }
    }
    assert!(
        around.is_empty(),
        "use `polymath_base` or `polymath_input`:\n{}",
        around.join("\n")
    );
}
