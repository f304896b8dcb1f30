//! Test that only the output modules of the sources write to stdout and stderr.

use super::*;

/// Modules that may use stdout and stderr.
const WRITERS: [&str; 3] = [
    "crates/cli/src/results.rs",
    "crates/cli/src/lines.rs",
    // Screen of the dashboard, which prints frames instead of lines.
    "crates/cli/src/dashboard/screen.rs",
];

/// Macros that panic if the output is closed and do not escape control sequences.
const MACROS: [&str; 5] = ["print!", "println!", "eprint!", "eprintln!", "dbg!"];

/// Calls that would print without one of the output modules.
const STREAMS: [&str; 2] = ["stdout()", "stderr()"];

/// Checks that no source prints by itself: `println!` and the like panic if the output is closed, and do not escape
/// control sequences. Tests may use them.
#[test]
fn only_the_output_modules_write() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = Vec::new();
    gather(&root.join("src"), &mut sources);
    for krate in std::fs::read_dir(root.join("crates")).unwrap() {
        gather(&krate.unwrap().path().join("src"), &mut sources);
    }
    assert!(sources.len() > 100, "{}", sources.len());
    let mut found = Vec::new();
    for source in sources {
        let name = source.strip_prefix(root).unwrap().display().to_string();
        let text = std::fs::read_to_string(&source).unwrap();
        let writer = WRITERS.contains(&name.as_str());
        let streams = STREAMS.iter().filter(|_| !writer);
        let words: Vec<&&str> = MACROS.iter().chain(streams).collect();
        for (number, line) in shipped(&text) {
            if words.iter().any(|word| calls(line, word)) {
                found.push(format!("{name}:{number}: {line}"));
            }
        }
    }
    assert!(
        found.is_empty(),
        "use `lines` or `results` of `polymath-cli`:\n{}",
        found.join("\n")
    );
    // The check finds a planted call, and nothing else.
    let planted = "fn a() {\n    println!(\"x\");\n}\n#[cfg(test)]\nmod tests {\n    println!();\n}\nfn b() { dbg!(1); }\n// print!()\n";
    let seen: Vec<usize> = shipped(planted)
        .filter(|(_, line)| MACROS.iter().any(|word| calls(line, word)))
        .map(|(number, _)| number)
        .collect();
    assert_eq!(seen, [2, 8]);
}

/// Returns the numbered lines that are compiled into the program, without comments and items for tests.
fn shipped(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut for_tests = false;
    let mut skipping = false;
    let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line));
    lines.filter(move |(_, line)| {
        if is_for_tests(line) {
            for_tests = true;
        } else if for_tests && !line.starts_with("#[") {
            for_tests = false;
            skipping = !line.ends_with([';', '}']);
            return false;
        }
        let inside = skipping;
        if *line == "}" {
            skipping = false;
        }
        !inside && !line.trim_start().starts_with("//")
    })
}

/// Returns true if the line marks the next item as compiled for tests only.
fn is_for_tests(line: &str) -> bool {
    line.starts_with("#[cfg(") && line.contains("test") && !line.contains("not(")
}

/// Returns true if the line contains `word` as a whole word or at the beginning of a longer one.
fn calls(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        before.is_none_or(|sign| !sign.is_alphanumeric() && sign != '_')
    })
}

/// Collects the paths of all sources in a folder, without tests.
fn gather(folder: &Path, sources: &mut Vec<PathBuf>) {
    let paths: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    let mut tests = vec!["tests".to_owned()];
    for path in paths.iter().filter(|path| path.is_file()) {
        let text = std::fs::read_to_string(path).unwrap();
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            let module =
                |line: &str| Some(line.strip_prefix("mod ")?.strip_suffix(';')?.to_owned());
            if is_for_tests(line) {
                tests.extend(lines.next().and_then(module));
            }
        }
    }
    for path in paths {
        let name = path.file_stem().unwrap().to_str().unwrap();
        if tests.iter().any(|module| module == name) {
            continue;
        }
        if path.is_dir() {
            gather(&path, sources);
        } else if path.extension().is_some_and(|end| end == "rs") {
            sources.push(path);
        }
    }
}
