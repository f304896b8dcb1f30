//! Tests of the dashboard through the binary, in a pseudo-terminal.
#![cfg(unix)]

mod bars;

use std::io::{Read, Write};
use std::num::NonZeroU16;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, SlavePty, native_pty_system};
use predicates::str::contains;

use crate::support::fixture;
use crate::support::fixture::{polymath, prepare};

/// Settings of a run that is long enough to be stopped during training.
const LONG: [&str; 2] = ["training.steps=100000", "run=runs/long"];

fn size(length: u16) -> NonZeroU16 {
    NonZeroU16::new(length).unwrap()
}

/// Bytes sent to the terminal, and the screen that they produce.
struct TerminalState {
    bytes: Vec<u8>,
    terminal: vt100::Parser,
}

/// Running `polymath` in a pseudo-terminal.
struct Session {
    child: Box<dyn Child + Send + Sync>,
    master: Box<dyn MasterPty + Send>,
    _slave: Box<dyn SlavePty + Send>,
    keys: Box<dyn Write + Send>,
    seen: Arc<Mutex<TerminalState>>,
}

impl Session {
    /// Starts `polymath` with a dashboard.
    fn start(folder: &Path, arguments: &[&str]) -> Self {
        Self::start_plain(folder, &[arguments, &["--dashboard"]].concat())
    }

    /// Starts `polymath` after another program has printed something.
    fn start_plain(folder: &Path, arguments: &[&str]) -> Self {
        let pty = native_pty_system().openpty(PtySize::default()).unwrap();
        let mut command = CommandBuilder::new("sh");
        command.args(["-c", "echo printed before; exec \"$@\"", "sh"]);
        command.arg(assert_cmd::cargo::cargo_bin("polymath"));
        command.args(["--device", &fixture::device()]);
        command.args(arguments);
        command.cwd(folder);
        command.env("TERM", "xterm-256color");
        command.env("RUST_LOG", "polymath_train=info");
        let child = pty.slave.spawn_command(command).unwrap();
        let seen = Arc::new(Mutex::new(TerminalState {
            bytes: Vec::new(),
            terminal: vt100::Parser::new(size(24), size(80), 0),
        }));
        let (mut reader, all) = (pty.master.try_clone_reader().unwrap(), seen.clone());
        std::thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(length @ 1..) = reader.read(&mut piece) {
                let mut all = all.lock().unwrap();
                all.bytes.extend_from_slice(&piece[..length]);
                all.terminal.process(&piece[..length]);
            }
        });
        Self {
            child,
            keys: pty.master.take_writer().unwrap(),
            master: pty.master,
            _slave: pty.slave,
            seen,
        }
    }

    fn screen(&self) -> String {
        self.seen.lock().unwrap().terminal.screen().contents()
    }

    /// Waits until the screen shows `text`.
    fn wait_for(&self, text: &str) {
        let begin = Instant::now();
        while !self.screen().contains(text) {
            assert!(
                begin.elapsed().as_secs() < 60,
                "no `{text}`:\n{}",
                self.screen()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn press(&mut self, keys: &[u8]) {
        self.keys.write_all(keys).unwrap();
        self.keys.flush().unwrap();
    }

    fn resize(&self, rows: u16, cols: u16) {
        let mut seen = self.seen.lock().unwrap();
        seen.terminal.screen_mut().set_size(size(rows), size(cols));
        drop(seen);
        let to = PtySize {
            rows,
            cols,
            ..PtySize::default()
        };
        self.master.resize(to).unwrap();
    }

    /// Waits for the program's end and checks its exit code. Checks that the terminal is restored: the earlier screen
    /// with `said` on it, the cursor, and the keyboard mode. Returns the text printed after the dashboard.
    fn end(mut self, code: u32, said: &str) -> String {
        let ended = self.child.wait().unwrap();
        self.wait_for(said);
        assert_eq!(ended.exit_code(), code, "{}", self.screen());
        let fresh = native_pty_system().openpty(PtySize::default()).unwrap();
        let modes = |master: &dyn MasterPty| {
            let modes = master.get_termios().unwrap();
            (modes.input_flags, modes.output_flags, modes.local_flags)
        };
        assert_eq!(modes(&*self.master), modes(&*fresh.master));
        let seen = self.seen.lock().unwrap();
        let text = String::from_utf8_lossy(&seen.bytes).into_owned();
        let screen = seen.terminal.screen();
        assert!(
            text.contains("\x1b[?1049h"),
            "never on a screen of its own: {text}"
        );
        assert!(
            !screen.alternate_screen() && !screen.hide_cursor(),
            "{text}"
        );
        assert!(
            screen.contents().contains("printed before"),
            "{}",
            screen.contents()
        );
        // Text printed after the dashboard left the alternate screen.
        text.rsplit("\x1b[?1049l").next().unwrap().to_owned()
    }
}

/// Checks that the summary, and errors, are printed on the ordinary screen after the buffered log.
#[test]
fn the_summary_is_printed_on_the_ordinary_screen() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    prepare(at);
    let after = Session::start(at, &["finetune", "finetune.toml"]).end(0, "20 steps done");
    assert!(after.contains("INFO"), "{after}");
    assert!(after.contains("held-out bits per byte: asked"), "{after}");
    let again = Session::start(at, &["finetune", "finetune.toml"]);
    again.end(1, "is finished (20 steps)");
}

/// Checks that a run saves and exits with 130 on `q`, Ctrl-C and SIGTERM, restores the terminal, and follows a change
/// of its size.
#[test]
fn a_stopped_run_leaves_the_terminal_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    prepare(at);
    let arguments = ["pretrain", "pretrain.toml", LONG[0], LONG[1]];
    let mut pressed = Session::start(at, &arguments);
    pressed.wait_for("tokens/s");
    pressed.wait_for("letters");
    pressed.resize(40, 132);
    // This column is shown in a wide window only.
    pressed.wait_for("first");
    pressed.press(b"q");
    pressed.end(130, "stopped and saved after step");

    let resume = [&arguments[..], &["--resume"]].concat();
    let mut pressed = Session::start(at, &resume);
    pressed.wait_for("tokens/s");
    pressed.press(b"\x03");
    let after = pressed.end(130, "stopped and saved after step");
    assert!(after.contains("resumed after step"), "{after}");

    let stopped = Session::start(at, &resume);
    stopped.wait_for("tokens/s");
    let number = stopped.child.process_id().unwrap().to_string();
    let killed = std::process::Command::new("kill")
        .args(["-TERM", &number])
        .status();
    assert!(killed.unwrap().success());
    stopped.end(130, "stopped and saved after step");
}

/// Checks that the dashboard is refused without a terminal, or with `--quiet`, before any work.
#[test]
fn a_dashboard_without_a_terminal_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |arguments: &[&str], sentence: &str| {
        polymath(folder.path())
            .args(arguments)
            .assert()
            .code(2)
            .stderr(contains(sentence.to_owned()));
    };
    let dashboard = ["pretrain", "none.toml", "--dashboard"];
    refused(&dashboard, "`--dashboard` needs a terminal");
    refused(
        &[&dashboard[..], &["--quiet"]].concat(),
        "`--dashboard` and `--quiet` are both given: choose one",
    );
    refused(&[&dashboard[..], &["--dry-run"]].concat(), "--dry-run");
}
