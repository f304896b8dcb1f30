//! Switches the terminal to the dashboard and restores it: at the end, on an error, on a signal, and in a panic.

use std::cell::Cell;
use std::io::{BufWriter, Stderr, stderr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, Once, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use crossterm::cursor::{Hide, Show};
use crossterm::event::{self, Event};
use crossterm::style::ResetColor;
use crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use ratatui::backend::CrosstermBackend;
use ratatui::{Frame, Terminal};

/// Terminal on stderr, as for progress bars and lines, since stdout carries results.
pub type Screen = Terminal<CrosstermBackend<BufWriter<Stderr>>>;

/// Maximum time to wait for a frame that is being written before the terminal is restored.
const PATIENCE: Duration = Duration::from_millis(500);

/// True while the dashboard is open.
static IS_UP: AtomicBool = AtomicBool::new(false);

/// Locked while a frame is written to the terminal.
static DRAWING: Mutex<()> = Mutex::new(());

thread_local! {
    /// True if this thread holds `DRAWING`.
    static DRAWS: Cell<bool> = const { Cell::new(false) };
}

/// Switches the terminal to the dashboard: alternate screen, no cursor, raw mode.
pub fn enter() -> std::io::Result<()> {
    give_back_in_a_panic();
    enable_raw_mode()?;
    IS_UP.store(true, Ordering::SeqCst);
    crossterm::execute!(stderr(), EnterAlternateScreen, Hide).inspect_err(|_| leave())
}

/// Returns true while the dashboard is open.
pub fn is_up() -> bool {
    IS_UP.load(Ordering::SeqCst)
}

/// Restores the terminal. Nothing is drawn afterwards, and a second call does nothing. A closed terminal is not an
/// error.
pub fn leave() {
    if !IS_UP.swap(false, Ordering::SeqCst) {
        return;
    }
    // Waits, so that a partial frame does not appear in the shell. A panic of the drawing thread itself must not wait
    // for it.
    let begin = Instant::now();
    while !DRAWS.get() && begin.elapsed() < PATIENCE {
        match DRAWING.try_lock() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(1)),
            Ok(_) | Err(TryLockError::Poisoned(_)) => break,
        }
    }
    let _ = crossterm::execute!(stderr(), ResetColor, Show, LeaveAlternateScreen);
    let _ = disable_raw_mode();
}

/// Makes a panic of any thread restore the terminal before it prints its message.
fn give_back_in_a_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let print = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            leave();
            print(panic);
        }));
    });
}

/// Opens a terminal to draw on.
pub fn open() -> std::io::Result<Screen> {
    Terminal::new(CrosstermBackend::new(BufWriter::new(stderr())))
}

/// Draws a frame with `view` if the dashboard is open.
pub fn draw(screen: &mut Screen, view: impl FnOnce(&mut Frame)) -> std::io::Result<()> {
    let _drawing = DRAWING.lock().unwrap_or_else(PoisonError::into_inner);
    if is_up() {
        DRAWS.set(true);
        let drawn = screen.draw(view).map(drop);
        DRAWS.set(false);
        return drawn;
    }
    Ok(())
}

/// Returns the next key press or resize within `time`.
pub fn wait(time: Duration) -> Option<Event> {
    let next = event::poll(time).and_then(|some| some.then(event::read).transpose());
    next.unwrap_or_else(|_| {
        // Keys can no longer be read; the display continues.
        std::thread::sleep(time);
        None
    })
}

#[cfg(all(test, unix))]
mod tests {
    use std::io::Read;
    use std::num::NonZeroU16;

    use portable_pty::{CommandBuilder, PtySize, native_pty_system};

    use super::*;

    fn draw_something() {
        println!("printed before");
        enter().unwrap();
        let mut screen = open().unwrap();
        let picture = |frame: &mut Frame| frame.render_widget("picture", frame.area());
        draw(&mut screen, picture).unwrap();
    }

    #[test]
    #[ignore = "takes the terminal: `a_panic_gives_the_terminal_back` starts it in one of its own"]
    #[should_panic(expected = "Any")]
    fn another_thread_panics() {
        draw_something();
        std::thread::spawn(|| panic!("on purpose")).join().unwrap();
    }

    #[test]
    #[ignore = "takes the terminal: `a_panic_gives_the_terminal_back` starts it in one of its own"]
    #[should_panic(expected = "on purpose")]
    fn the_drawing_panics() {
        draw_something();
        let _drawn = draw(&mut open().unwrap(), |_| panic!("on purpose"));
    }

    /// Checks that a panic of any thread, including the drawing one, restores screen, cursor and keys, and that its
    /// message stays readable.
    #[test]
    fn a_panic_gives_the_terminal_back() {
        for name in ["another_thread_panics", "the_drawing_panics"] {
            let pty = native_pty_system().openpty(PtySize::default()).unwrap();
            let before = pty.master.get_termios().unwrap();
            let mut command = CommandBuilder::new(std::env::current_exe().unwrap());
            command.arg(format!(
                "{}::{name}",
                module_path!().split_once("::").unwrap().1
            ));
            command.args(["--exact", "--ignored", "--nocapture", "--test-threads=1"]);
            command.env("RUST_BACKTRACE", "0");
            let mut child = pty.slave.spawn_command(command).unwrap();
            let mut reader = pty.master.try_clone_reader().unwrap();
            let reading = std::thread::spawn(move || {
                let (mut bytes, mut piece) = (Vec::new(), [0; 4096]);
                // Linux reports a closed terminal as an error, not as the end of a file.
                while let Ok(length @ 1..) = reader.read(&mut piece) {
                    bytes.extend_from_slice(&piece[..length]);
                }
                bytes
            });
            assert!(child.wait().unwrap().success(), "{name}");
            assert!(pty.master.get_termios().unwrap() == before, "{name}");
            drop(pty.slave);
            let bytes = reading.join().unwrap();
            let size = |length| NonZeroU16::new(length).unwrap();
            let mut terminal = vt100::Parser::new(size(24), size(80), 0);
            terminal.process(&bytes);
            let (screen, text) = (terminal.screen(), String::from_utf8_lossy(&bytes));
            assert!(text.contains("picture"), "{text}");
            assert!(
                !screen.alternate_screen() && !screen.hide_cursor(),
                "{text}"
            );
            let seen = screen.contents();
            assert!(
                seen.contains("printed before") && seen.contains("on purpose"),
                "{seen}"
            );
            assert!(!seen.contains("picture"), "{seen}");
        }
    }
}
