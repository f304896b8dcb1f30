//! Files are read and moved into place by this crate alone: code that opens a path another way waits for ever on a
//! named pipe, and code that renames another way does not sync.

use std::path::{Path, PathBuf};

/// Ways around this crate.
const FORBIDDEN: [&str; 4] = [
    "File::open(",
    "fs::read(",
    "fs::read_to_string(",
    "fs::rename(",
];
/// Exceptions: the file, and a part of the line.
const MEANT: [(&str, &str); 6] = [
    // The kernel's own file about this process.
    ("cli/src/signals.rs", "/proc/self/status"),
    ("cli/src/commands/bench.rs", "/proc/self/status"),
    // Links and checkpoints of a run, whose folder is synced by the caller.
    ("train/src/run_folder.rs", "fs::rename("),
    // Parts of the hub's cache, which is checked by its digests.
    ("hub/src/resume.rs", "fs::rename("),
    // A folder, to sync it.
    ("data/src/preparation/prepare.rs", "fs::File::open(folder)"),
    // Opened a second time, after it was found to be a regular file.
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
fn nobody_reads_or_renames_another_way() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut files = Vec::new();
    for entry in std::fs::read_dir(crates).unwrap() {
        let path = entry.unwrap().path();
        if !path.ends_with("files") && path.join("src").is_dir() {
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
                // `ParquetFile::open(` is no way around, and neither is a comment.
                before.is_some_and(|before| !before.ends_with(char::is_alphanumeric))
            });
            let meant = MEANT
                .iter()
                .any(|(file, part)| name == *file && line.contains(part));
            if used && !meant && !line.trim_start().starts_with("//") {
                around.push(format!("crates/{name}:{number}: {}", line.trim()));
            }
        }
    }
    assert!(
        around.is_empty(),
        "use `polymath_files` or `polymath_input`:\n{}",
        around.join("\n")
    );
}
