//! Tests of output that nobody reads, that does not fit on the disk, or that contains terminal control sequences.
#![cfg(unix)]

mod sources;

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use crate::support::fixture;
use crate::support::fixture::killable;

/// Returns a folder with a base, data and configs. No test changes it.
fn folder() -> &'static Path {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        fixture::prepare(folder.path());
        folder
    });
    folder.path()
}

/// Returns a pipe whose reader is closed.
fn closed() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

/// Returns `/dev/full`, to which every write fails like on a full disk.
fn full() -> Stdio {
    let full: File = OpenOptions::new().write(true).open("/dev/full").unwrap();
    full.into()
}

fn polymath(arguments: &[&str]) -> Command {
    let mut command = killable(folder());
    command.args(arguments).stderr(Stdio::piped());
    command
}

/// Checks that the command exits with `code` and without a panic; returns its stderr.
fn ends(mut command: Command, code: i32) -> String {
    let Output { status, stderr, .. } = command.output().unwrap();
    let told = String::from_utf8(stderr).unwrap();
    assert!(!told.contains("panicked"), "{command:?}: {told}");
    assert_eq!(status.code(), Some(code), "{command:?}: {told}");
    told
}

/// Checks that every command that prints ends silently with 0 if its reader is closed, and with 1 and an error if the
/// disk is full.
#[test]
fn a_closed_output_is_no_error_and_a_full_one_is() {
    let commands: [&[&str]; 13] = [
        &["--help"],
        &["--version"],
        &["help", "pretrain"],
        &["completions", "bash"],
        &["evaluate", "runs/base"],
        &["evaluate", "runs/base", "--json"],
        &["dataset", "info", "data"],
        &["dataset", "info", "data", "--json"],
        &["dataset", "text", "data", "--domain", "counting"],
        &[
            "generate",
            "runs/base",
            "--prompt",
            "1 2 3",
            "--max-tokens",
            "4",
        ],
        &["pretrain", "pretrain.toml", "run=runs/none", "--dry-run"],
        &["finetune", "finetune.toml", "run=runs/none", "--dry-run"],
        &[
            "bench",
            "pretrain.toml",
            "--steps",
            "1",
            "--vocabulary",
            "300",
        ],
    ];
    for arguments in commands {
        let mut command = polymath(arguments);
        // `help` takes no options.
        command.args((arguments[0] != "help").then_some("--quiet"));
        command.stdout(closed());
        assert_eq!(ends(command, 0), "", "{arguments:?}");
        let mut command = polymath(arguments);
        command.stdout(full());
        let told = ends(command, 1);
        assert!(
            told.contains("error: can't write to standard output: "),
            "{arguments:?}: {told}"
        );
    }
}

/// Checks that a command whose output is lost completes its work, and reports the loss only if the disk is full.
#[test]
fn work_is_completed_without_a_reader() {
    type Redirect = fn(&mut Command) -> &mut Command;
    let redirects: [(&str, Redirect, i32); 5] = [
        ("output-closed", |command| command.stdout(closed()), 0),
        ("output-full", |command| command.stdout(full()), 1),
        ("error-closed", |command| command.stderr(closed()), 0),
        ("error-full", |command| command.stderr(full()), 0),
        (
            "both-closed",
            |command| command.stdout(closed()).stderr(closed()),
            0,
        ),
    ];
    for (name, redirect, code) in redirects {
        let output = |what: &str| format!("{what}={name}/{what}");
        let commands: [(&[&str], PathBuf); 4] = [
            (
                &["prepare", "prepare.toml", &output("output")],
                folder().join(name).join("output/dataset.json"),
            ),
            (
                &[
                    "pretrain",
                    "pretrain.toml",
                    "training.steps=4",
                    "evaluation.every=2",
                    &output("run"),
                ],
                folder().join(name).join("run/best/model.safetensors"),
            ),
            (
                &["merge", "runs/adapter", "-o", &format!("{name}/merged")],
                folder().join(name).join("merged/model.safetensors"),
            ),
            (
                &[
                    "report",
                    "runs/base",
                    "runs/base",
                    "-o",
                    &format!("{name}/report"),
                ],
                folder().join(name).join("report/report.json"),
            ),
        ];
        adapter();
        for (arguments, made) in commands {
            let mut command = polymath(arguments);
            redirect(&mut command);
            let told = ends(command, code);
            assert!(made.is_file(), "{arguments:?}, {name}");
            let lost = told.contains("error: can't write to standard output: ");
            assert_eq!(lost, code == 1, "{arguments:?}, {name}: {told}");
        }
    }
}

/// Trains an adapter in `runs/adapter`, once for all tests.
fn adapter() {
    static MADE: OnceLock<()> = OnceLock::new();
    MADE.get_or_init(|| {
        let settings = ["method=lora", "run=runs/adapter", "training.steps=2"];
        let mut command = polymath(&["finetune", "finetune.toml"]);
        command.args(settings);
        ends(command, 0);
    });
}

/// Checks that the exit code gives the verdict on the limits even if nobody reads the output.
#[test]
fn the_exit_code_gives_the_verdict_without_a_reader() {
    let redirects = [
        ("closed", closed as fn() -> Stdio),
        ("full", full as fn() -> Stdio),
    ];
    for (name, redirect) in redirects {
        let mut command = polymath(&["finetune", "finetune.toml", "--limits", "0.000001"]);
        command.arg(format!("run=runs/limits-{name}"));
        command.args([
            "training.learning_rate=0.1",
            "evaluation.max_tokens=4000",
            "--quiet",
        ]);
        command.stdout(redirect());
        ends(command, 3);
    }
}

/// Returns what a command prints to a terminal, stdout and stderr together.
fn on_a_terminal(arguments: &[&str]) -> String {
    use portable_pty::{CommandBuilder, PtySize, native_pty_system};
    let pty = native_pty_system().openpty(PtySize::default()).unwrap();
    let mut command = CommandBuilder::new(assert_cmd::cargo::cargo_bin("polymath"));
    command.args(["--device", &fixture::device()]);
    command.args(arguments);
    command.cwd(folder());
    command.env("TERM", "xterm-256color");
    let mut child = pty.slave.spawn_command(command).unwrap();
    let mut reader = pty.master.try_clone_reader().unwrap();
    let reading = std::thread::spawn(move || {
        let (mut bytes, mut piece) = (Vec::new(), [0; 4096]);
        while let Ok(length @ 1..) = reader.read(&mut piece) {
            bytes.extend_from_slice(&piece[..length]);
        }
        String::from_utf8(bytes).unwrap()
    });
    child.wait().unwrap();
    drop(pty.slave);
    reading.join().unwrap()
}

/// Text with a window title, a cleared screen, a C1 sequence and a reversed name.
const HOSTILE: &str = "\u{1b}]0;owned\u{7}\u{1b}[2J\u{9b}31m\u{202e}evil";
const SHOWN: &str = "␛]0;owned␇␛[2J�31m�evil";

/// Checks that control sequences in generated text, tables, errors and wrong arguments are shown escaped on a
/// terminal. A pipe gets results unchanged and errors escaped.
#[test]
fn control_sequences_are_escaped_on_a_terminal() {
    let generate = [
        "generate",
        "runs/base",
        "--echo",
        "--max-tokens",
        "2",
        "--quiet",
        "--prompt",
        HOSTILE,
    ];
    let seen = on_a_terminal(&generate);
    assert!(seen.starts_with(SHOWN), "{seen:?}");
    let mut command = polymath(&generate);
    let piped = command.stdout(Stdio::piped()).output().unwrap().stdout;
    assert!(piped.starts_with(HOSTILE.as_bytes()), "{piped:?}");

    let missing = ["evaluate", HOSTILE];
    let wrong = ["prepare", "prepare.toml", "--json", &format!("--{HOSTILE}")];
    for arguments in [&missing[..], &wrong] {
        let mut command = polymath(arguments);
        let told = String::from_utf8(command.output().unwrap().stderr).unwrap();
        for text in [told, on_a_terminal(arguments)] {
            // The argument parser removes control sequences before it shows an argument.
            let shown = text.contains(SHOWN) || (arguments == wrong && text.contains("evil"));
            assert!(shown, "{text:?}");
            assert!(
                !text.contains(['\u{1b}', '\u{7}', '\u{9b}', '\u{202e}']),
                "{text:?}"
            );
        }
    }

    // A dataset from someone else, who chose the names of its domains.
    let hostile = folder().join("hostile");
    copy(&folder().join("data"), &hostile);
    let manifest = std::fs::read_to_string(hostile.join("dataset.json")).unwrap();
    let name = serde_json::to_string(HOSTILE).unwrap();
    std::fs::write(
        hostile.join("dataset.json"),
        manifest.replace("\"counting\"", &name),
    )
    .unwrap();
    std::fs::rename(hostile.join("counting"), hostile.join(HOSTILE)).unwrap();
    let seen = on_a_terminal(&["dataset", "info", "hostile"]);
    assert!(seen.contains(SHOWN) && !seen.contains('\u{1b}'), "{seen:?}");
}

/// Name that attacks a model card: a heading, a tracking image, HTML, the end of a code block and of the metadata.
const MARKUP: &str =
    "x\n\n# Heading\n![x](https://tracker.example/p.png)\n<img src=x>\n```\n---\n| a | b |";

/// Checks that a card keeps its lines and headings, for any names of the begin token and of the domains.
#[test]
fn a_card_shows_names_as_text() {
    let edit = |run: &str, file: &str, from: &str, to: &str| {
        let path = folder().join(run).join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{text}");
        std::fs::write(&path, text.replace(from, to)).unwrap();
    };
    let card = |run: &str| {
        let file = format!("{run}.md");
        ends(polymath(&["export", run, "--card", &file]), 0);
        std::fs::read_to_string(folder().join(file)).unwrap()
    };
    let quoted = |text: &str| serde_json::to_string(text).unwrap();
    let copies = ["plain", "scored", "begun", "named"];
    for run in copies {
        copy(&folder().join("runs/base"), &folder().join(run));
    }
    edit("scored", "metrics.jsonl", "\"counting\"", &quoted(MARKUP));
    for run in ["begun", "named"] {
        // Without `state.json`, the model counts as one from elsewhere, of whose files nothing is known.
        std::fs::remove_file(folder().join(run).join("best/state.json")).unwrap();
    }
    let begin = "\"bos_token\": \"<|endoftext|>\"";
    let hostile = format!("\"bos_token\": {}", quoted(MARKUP));
    edit("named", "best/tokenizer_config.json", begin, &hostile);
    for (plain, named) in [("plain", "scored"), ("begun", "named")] {
        same_lines(&card(plain), &card(named));
    }
}

/// Asserts that a card with hostile names has the same headings, tables and code blocks as one without.
fn same_lines(plain: &str, named: &str) {
    assert!(named.contains("tracker.example"), "{named}");
    let begin = |text: &str, part: &str| text.lines().filter(|line| line.starts_with(part)).count();
    for part in ["#", "```", "---", "![", "<", "|"] {
        assert_eq!(begin(named, part), begin(plain, part), "{part}: {named}");
    }
    let text = |card: &str| card.split("\n---\n").nth(1).unwrap().to_owned();
    let (plain, named) = (text(plain), text(named));
    assert_eq!(named.lines().count(), plain.lines().count(), "{named}");
    let quotes_code = |line: &&str| line.starts_with("Every training document began with `");
    let prose: Vec<&str> = named.lines().filter(|line| !quotes_code(line)).collect();
    assert!(!prose.join("\n").contains("![x]"), "{named}");
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).unwrap()),
        }
    }
}
