//! Reports tests that this machine can't run: on stderr, past the test harness, and in the file `POLYMATH_SKIPPED`,
//! from which `.ci/run` counts them.

use std::io::Write;

/// Reports that the calling test, or a part of it, did not run, and its requirements.
pub fn skipped(needs: &str) {
    let thread = std::thread::current();
    let line = format!(
        "skipped: {}: needs {needs}\n",
        thread.name().unwrap_or("a test")
    );
    // `eprintln!` would be captured.
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
