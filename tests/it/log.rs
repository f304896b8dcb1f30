//! Tests of log output with `RUST_LOG` and `--log-format`.

use std::path::Path;

use serde_json::Value;

use crate::support::fixture::{polymath, prepare};

/// Returns the stderr of a short run with the given `RUST_LOG`.
fn log(at: &Path, filter: Option<&str>, arguments: &[&str]) -> String {
    let run = format!(
        "run=runs/{}",
        std::fs::read_dir(at.join("runs")).unwrap().count()
    );
    let mut command = polymath(at);
    command.env_remove("RUST_LOG");
    command.args(["pretrain", "pretrain.toml", "training.steps=2", &run]);
    command.args(arguments);
    if let Some(filter) = filter {
        command.env("RUST_LOG", filter);
    }
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{text}");
    assert!(!text.contains('\x1b'), "colors without a terminal: {text}");
    text
}

/// Checks that only the requested levels and crates are logged, that every JSON line is one object, and that an
/// invalid filter is reported without ending the run.
#[test]
fn levels_and_formats_are_respected() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    prepare(at);
    let plain = log(at, None, &[]);
    assert!(
        !plain.contains("INFO") && !plain.contains("DEBUG"),
        "{plain}"
    );

    let text = log(at, Some("polymath_train=info"), &[]);
    assert!(
        text.contains("INFO polymath_train::progress: checkpoint step=2"),
        "{text}"
    );
    assert!(
        !text.contains("DEBUG") && !text.contains("polymath_data"),
        "{text}"
    );

    let arguments = ["--quiet", "--log-format", "json", "--threads", "2"];
    let lines: Vec<Value> = log(at, Some("polymath=debug"), &arguments)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no object: {line}")))
        .collect();
    let of = |level: &str, message: &str| {
        lines
            .iter()
            .filter(|line| line["level"] == level && line["fields"]["message"] == message)
            .count()
    };
    assert_eq!(of("DEBUG", "step"), 2);
    let started = |line: &&Value| line["fields"]["message"] == "started";
    let started: Vec<&Value> = lines.iter().filter(started).collect();
    assert_eq!(started.len(), 1, "{started:?}");
    assert_eq!(started[0]["fields"]["threads"], 2);
    assert_eq!((of("INFO", "evaluation"), of("INFO", "dataset")), (1, 1));
    assert!(
        lines
            .iter()
            .all(|line| line["target"].is_string() && line["timestamp"].is_string())
    );

    let refused = log(at, Some("polymath=loud"), &[]);
    assert!(
        refused.contains("WARN") && refused.contains("`RUST_LOG` = `polymath=loud`"),
        "{refused}"
    );
}
