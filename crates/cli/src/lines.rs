//! Lines for a person: to standard error, above the bar that is drawn there, or, while the dashboard has the terminal,
//! into its log, until it gives the terminal back.
//!
//! This is the only place that writes lines to standard error. A closed or full standard error stops nothing: nobody
//! could be told. What lines quote may come from anyone, so only characters that a terminal shows are written
//! ([`printable`]), whether or not there is a terminal.

use std::collections::VecDeque;
use std::io::{IsTerminal, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use indicatif::ProgressBar;
use polymath_report::untrusted::printable;
use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

/// The most lines that are held: a run may log for days.
const MOST_HELD: usize = 10_000;

/// Where the next line goes.
enum Place {
    Terminal,
    Above(ProgressBar),
    Held(Held),
}

/// What waits for the terminal; the oldest lines go first.
#[derive(Default)]
struct Held {
    lines: VecDeque<String>,
    dropped: u64,
}

static PLACE: Mutex<Place> = Mutex::new(Place::Terminal);

fn place() -> MutexGuard<'static, Place> {
    PLACE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Says a line, or several. A terminal that is gone is no error: whoever is told has left.
pub fn say(text: &str) {
    say_styled(&printable(text));
}

/// Says text whose escape sequences are our own.
pub fn say_styled(text: &str) {
    match &mut *place() {
        Place::Terminal => print(text),
        Place::Above(bar) => bar.println(text),
        Place::Held(held) => held.push(text),
    }
}

fn print(text: &str) {
    // Where the standard error is closed, nobody reads it, and nobody could be told.
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Lines stand above `bar` from now on, which is drawn.
pub fn stand_above(bar: &ProgressBar) {
    let mut place = place();
    if !matches!(*place, Place::Held(_)) {
        *place = Place::Above(bar.clone());
    }
}

/// No bar is drawn any more.
pub fn stand_alone() {
    let mut place = place();
    if matches!(*place, Place::Above(_)) {
        *place = Place::Terminal;
    }
}

/// Lines are held from now on.
pub fn hold() {
    *place() = Place::Held(Held::default());
}

/// Prints what was held, and holds nothing more. Done twice, the second does nothing.
pub fn release() {
    let mut place = place();
    if let Place::Held(held) = std::mem::replace(&mut *place, Place::Terminal) {
        held.print();
    }
}

/// The last lines that are held, at most `most`, without colours; and how many there have been.
pub fn held(most: usize) -> (Vec<String>, u64) {
    match &*place() {
        Place::Held(held) => {
            let first = held.lines.len().saturating_sub(most);
            let last = held.lines.iter().skip(first);
            let plain = last.map(|line| ::console::strip_ansi_codes(line).into_owned());
            (plain.collect(), held.told())
        }
        Place::Terminal | Place::Above(_) => (Vec::new(), 0),
    }
}

impl Held {
    fn push(&mut self, text: &str) {
        for line in text.lines().filter(|line| !line.is_empty()) {
            if self.lines.len() == MOST_HELD {
                self.lines.pop_front();
                self.dropped += 1;
            }
            self.lines.push_back(line.to_owned());
        }
    }

    fn told(&self) -> u64 {
        self.dropped + self.lines.len() as u64
    }

    fn print(self) {
        if self.dropped > 0 {
            print(&format!("… {} earlier lines are left out", self.dropped));
        }
        self.lines.iter().for_each(|line| print(line));
    }
}

/// Whether standard error is a terminal.
pub fn is_terminal() -> bool {
    std::io::stderr().is_terminal()
}

/// Whether standard error is a terminal that may be sent colors.
pub fn is_colored() -> bool {
    is_terminal() && wants_color()
}

/// Whether the user lets terminals be sent colors: <https://no-color.org>.
pub fn wants_color() -> bool {
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    !no_color && std::env::var_os("TERM").is_none_or(|name| name != "dumb")
}

/// Makes the writers that `tracing` writes events to.
pub struct Log {
    /// Whether the level is colored. `tracing` is to send no escape sequences of its own.
    pub colored: bool,
}

impl MakeWriter<'_> for Log {
    type Writer = LogWriter;

    fn make_writer(&self) -> LogWriter {
        LogWriter { level: None }
    }

    fn make_writer_for(&self, metadata: &Metadata<'_>) -> LogWriter {
        LogWriter {
            level: self.colored.then(|| *metadata.level()),
        }
    }
}

/// Takes what `tracing` writes: an event at a time.
pub struct LogWriter {
    /// The event's level, where it is colored.
    level: Option<Level>,
}

impl Write for LogWriter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        let text = printable(text.trim_end_matches('\n'));
        match self.level {
            Some(level) => say_styled(&text.replacen(level.as_str(), &painted(level), 1)),
            None => say_styled(&text),
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn painted(level: Level) -> String {
    let style = ::console::Style::new().force_styling(true);
    let style = match level {
        Level::ERROR => style.red(),
        Level::WARN => style.yellow(),
        Level::INFO => style.green(),
        Level::DEBUG => style.blue(),
        Level::TRACE => style.magenta(),
    };
    style.apply_to(level.as_str()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A log that never ends takes bounded memory, and the newest lines are kept.
    #[test]
    fn the_newest_lines_are_held() {
        let mut held = Held::default();
        for number in 0..MOST_HELD + 2 {
            held.push(&format!("\nline {number}"));
        }
        assert_eq!(held.lines.len(), MOST_HELD);
        assert_eq!(held.lines[0], "line 2");
        assert_eq!(held.told(), MOST_HELD as u64 + 2);
    }
}
