//! Reports tests that this machine can't run: on stderr, which the test harness does not capture, and in the file
//! that the environment variable `POLYMATH_SKIPPED` names, from which `.ci/run` counts them.

use std::io::Write;

/// Reports that the calling test, or a part of it, was skipped because the machine lacks `needs`.
pub fn skipped(needs: &str) {
    let thread = std::thread::current();
    let line = format!(
        "skipped: {}: needs {needs}\n",
        thread.name().unwrap_or("a test")
    );
    // The test harness would capture `eprintln!`.
    let _ = std::io::stderr().write_all(line.as_bytes());
    if let Some(path) = std::env::var_os("POLYMATH_SKIPPED") {
        let file = std::fs::File::options()
            .append(true)
            .create(true)
            .open(&path);
        file.and_then(|mut file| file.write_all(line.as_bytes()))
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
}
