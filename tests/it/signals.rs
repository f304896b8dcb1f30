//! Tests of signals through the binary: a signal that was ignored at the start stays ignored, and a run stops within
//! seconds.
#![cfg(unix)]

use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::support::fixture::{PREPARE, device, prepare_data, succeed, write_corpus};

/// Time limit: longer than any machine needs, short enough to notice a hang.
const SOON: Duration = Duration::from_secs(60);

/// Starts the command from a shell that ignores the signals in `ignored`, a list or an empty string.
fn start(at: &Path, ignored: &str, arguments: &str) -> Child {
    let trap = match ignored {
        "" => String::new(),
        signals => format!("trap '' {signals}; "),
    };
    let binary = assert_cmd::cargo::cargo_bin("polymath");
    let line = format!(
        "{trap}exec {} --device {} {arguments}",
        binary.display(),
        device()
    );
    Command::new("sh")
        .args(["-c", &line])
        .current_dir(at)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn send(signal: &str, to: &Child) {
    let sent = Command::new("kill")
        .args([&format!("-{signal}"), &to.id().to_string()])
        .status();
    assert!(sent.unwrap().success());
}

fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !done() {
        assert!(begin.elapsed() < SOON, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn end(child: &mut Child) -> ExitStatus {
    let mut status = None;
    wait_for("it ends", || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    status.unwrap()
}

fn lines(file: &Path) -> usize {
    std::fs::read_to_string(file).map_or(0, |text| text.lines().count())
}

const LONG: &str = "training.steps=200000 evaluation.every=100000";

/// Checks that SIGHUP stays ignored under `nohup`, and SIGINT in a background job of a shell: the run continues, and
/// SIGTERM stops it.
#[test]
fn ignored_signals_stay_ignored() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    prepare_data(at);
    let mut run = start(
        at,
        "HUP INT",
        &format!("pretrain pretrain.toml run=runs/long {LONG}"),
    );
    let metrics = at.join("runs/long/metrics.jsonl");
    wait_for("it trains", || lines(&metrics) > 1);
    send("HUP", &run);
    send("INT", &run);
    let before = lines(&metrics);
    wait_for("it goes on", || lines(&metrics) > before + 2);
    assert!(run.try_wait().unwrap().is_none());
    send("TERM", &run);
    assert_eq!(end(&mut run).code(), Some(130));
    assert!(at.join("runs/long/latest/state.json").is_file());

    // If SIGHUP is not ignored, closing the terminal makes the run save and stop.
    let mut run = start(
        at,
        "",
        &format!("pretrain pretrain.toml run=runs/hung {LONG}"),
    );
    let metrics = at.join("runs/hung/metrics.jsonl");
    wait_for("it trains", || lines(&metrics) > 1);
    send("HUP", &run);
    assert_eq!(end(&mut run).code(), Some(130));
    assert!(at.join("runs/hung/latest/state.json").is_file());
}

/// Checks that SIGTERM ends a preparation or a long evaluation at once, that nothing unfinished is left behind, and
/// that the run can be resumed.
#[test]
fn long_work_is_stopped_within_seconds() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_corpus(at);
    // Much text, and a large vocabulary that takes long to train.
    let line = std::fs::read_to_string(at.join("raw/counting.jsonl")).unwrap();
    let many: String = (0..300)
        .map(|number| line.replace("{\"text\":\"", &format!("{{\"text\":\"{number}x ")))
        .collect();
    std::fs::write(at.join("raw/counting.jsonl"), many).unwrap();
    let mut preparing = start(at, "", "prepare prepare.toml");
    wait_for("it prepares", || at.join("data").is_dir());
    send("TERM", &preparing);
    let begin = Instant::now();
    assert!(!end(&mut preparing).success());
    assert!(begin.elapsed() < Duration::from_secs(5));
    let staged = |folder: &Path| {
        let names = std::fs::read_dir(folder).unwrap();
        names
            .filter_map(|entry| entry.unwrap().file_name().into_string().ok())
            .filter(|name| name.ends_with("polymath-tmp"))
            .count()
    };
    assert_eq!(staged(&at.join("data")), 0);
    succeed(at, &PREPARE);

    // One step, and then an evaluation of all held-out documents.
    let arguments = "pretrain pretrain.toml run=runs/stopped training.steps=3 evaluation.every=1 \
                     evaluation.max_tokens=1000000000 checkpoint.every=1";
    let mut run = start(at, "", arguments);
    let metrics = at.join("runs/stopped/metrics.jsonl");
    wait_for("it trains", || lines(&metrics) == 1);
    send("TERM", &run);
    let begin = Instant::now();
    assert_eq!(end(&mut run).code(), Some(130));
    assert!(begin.elapsed() < Duration::from_secs(10));
    let state = std::fs::read(at.join("runs/stopped/latest/state.json")).unwrap();
    let state: serde_json::Value = serde_json::from_slice(&state).unwrap();
    assert_eq!(state["step"], 1);
    assert_eq!(state["evaluation_due"], true);
}
