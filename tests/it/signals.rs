//! Tests of signals through the binary: a signal that was ignored at the start stays ignored, and a run stops within
//! seconds.
#![cfg(unix)]

use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::support::fixture::{PREPARE, device, polymath, prepare_data, succeed, write_corpus};

/// Time limit: longer than any machine needs, short enough to notice a hang.
const SOON: Duration = Duration::from_secs(60);

/// Starts the command from a shell that ignores the signals in `ignored` (names separated by spaces; may be empty).
fn start(at: &Path, ignored: &str, arguments: &str) -> Child {
    start_in(None, at, ignored, arguments)
}

/// Starts the command as if within a batch system's job with this id; outside of a job if there is none.
fn start_in(job: Option<&str>, at: &Path, ignored: &str, arguments: &str) -> Child {
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
        .env_remove("SLURM_JOB_ID")
        .envs(job.map(|id| ("SLURM_JOB_ID", id)))
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

/// Checks that a batch system's warning stops a run after its step; it saves and ends with 75, also when the signal
/// comes twice. SIGTERM does the same in a job.
#[test]
fn a_warning_of_a_batch_system_saves() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    prepare_data(at);
    for (signal, job) in [("USR1", None), ("USR2", None), ("TERM", Some("7"))] {
        let arguments = format!("pretrain pretrain.toml run=runs/{signal} {LONG}");
        let mut run = start_in(job, at, "", &arguments);
        let metrics = at.join(format!("runs/{signal}/metrics.jsonl"));
        wait_for("it trains", || lines(&metrics) > 1);
        for _ in 0..2 {
            // It may have ended in between.
            let _sent = Command::new("kill")
                .args([&format!("-{signal}"), &run.id().to_string()])
                .stderr(Stdio::null())
                .status();
        }
        assert_eq!(end(&mut run).code(), Some(75), "{signal}");
        assert!(
            at.join(format!("runs/{signal}/latest/state.json"))
                .is_file()
        );
    }
    // Without a run there is nothing to save.
    let mut preparing = start(at, "", "prepare prepare.toml output=again --force");
    wait_for("it prepares", || at.join("again").is_dir());
    send("USR1", &preparing);
    let code = end(&mut preparing).code();
    assert!(code == Some(75) || code == Some(0), "{code:?}");
}

/// Checks that `--max-time` stops a run and a sweep with a saved checkpoint, and that the same run can be resumed.
#[test]
fn a_run_ends_when_its_time_is_up() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    prepare_data(at);
    let state = at.join("runs/long/latest/state.json");
    let step = || {
        let text = std::fs::read_to_string(&state).unwrap_or_default();
        let state: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        state["step"].as_u64().unwrap_or(0)
    };
    let mut before = 0;
    for resume in ["", "--resume"] {
        // A busy machine may take long to begin.
        for limit in [2, 4, 8, 16, 32] {
            let resume = if before > 0 { "--resume" } else { resume };
            let arguments =
                format!("pretrain pretrain.toml run=runs/long {LONG} {resume} --max-time {limit}s");
            let mut run = start(at, "", &arguments);
            assert_eq!(end(&mut run).code(), Some(75));
            if step() > before {
                break;
            }
        }
        assert!(step() > before);
        before = step();
    }
    polymath(at)
        .args(["pretrain", "pretrain.toml", "--max-time", "90"])
        .assert()
        .code(2)
        .stderr(predicates::str::contains(
            "a time with its unit, such as `90m`",
        ));
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
