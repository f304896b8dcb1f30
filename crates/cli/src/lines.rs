//! Printing of lines for the user to stderr: above the current progress bar, or into the dashboard's log while it is
//! open.
//!
//! This is the only module that writes lines to stderr. A closed or full stderr is ignored, since there is nowhere to
//! report it. Lines may quote text from elsewhere, so only printable characters are written ([`printable`]), with or
//! without a terminal.

use std::collections::VecDeque;
use std::io::{IsTerminal, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use indicatif::ProgressBar;
use polymath_report::untrusted::printable;
use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

/// Maximum number of buffered lines, since a run may log for days.
const MAX_LINES: usize = 10_000;

/// Destination of the next line: the terminal, above a progress bar, or a buffer.
#[cfg_attr(
    not(feature = "dashboard"),
    allow(dead_code, reason = "only the dashboard buffers lines")
)]
enum Output {
    Terminal,
    Above(ProgressBar),
    Buffered(Buffer),
}

/// Lines that are printed when the dashboard closes. The oldest are dropped first.
#[derive(Default)]
struct Buffer {
    lines: VecDeque<String>,
    dropped: u64,
}

static OUTPUT: Mutex<Output> = Mutex::new(Output::Terminal);

fn output() -> MutexGuard<'static, Output> {
    OUTPUT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Prints one or more lines. A closed terminal is not an error.
pub fn say(text: &str) {
    say_styled(&printable(text));
}

/// Prints text unfiltered, so that the program's own escape sequences (colors) reach the terminal.
pub fn say_styled(text: &str) {
    match &mut *output() {
        Output::Terminal => print(text),
        Output::Above(bar) => bar.println(text),
        Output::Buffered(buffer) => buffer.push(text),
    }
}

fn print(text: &str) {
    // A closed stderr is ignored, since there is nowhere to report it.
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Prints lines above `bar` from now on.
pub fn print_above(bar: &ProgressBar) {
    let mut output = output();
    if !matches!(*output, Output::Buffered(_)) {
        *output = Output::Above(bar.clone());
    }
}

/// Prints lines directly from now on, since no bar is drawn any more.
pub fn print_directly() {
    let mut output = output();
    if matches!(*output, Output::Above(_)) {
        *output = Output::Terminal;
    }
}

/// Buffers lines from now on.
#[cfg_attr(
    not(feature = "dashboard"),
    allow(dead_code, reason = "only the dashboard buffers lines")
)]
pub fn buffer() {
    *output() = Output::Buffered(Buffer::default());
}

/// Prints the buffered lines and stops buffering. A second call does nothing.
pub fn release() {
    let mut output = output();
    if let Output::Buffered(buffer) = std::mem::replace(&mut *output, Output::Terminal) {
        buffer.print();
    }
}

/// Returns the last `limit` buffered lines without colors, and the number of all lines so far.
#[cfg_attr(
    not(feature = "dashboard"),
    allow(dead_code, reason = "only the dashboard buffers lines")
)]
pub fn buffered(limit: usize) -> (Vec<String>, u64) {
    match &*output() {
        Output::Buffered(buffer) => {
            let first = buffer.lines.len().saturating_sub(limit);
            let last = buffer.lines.iter().skip(first);
            let plain = last.map(|line| ::console::strip_ansi_codes(line).into_owned());
            (plain.collect(), buffer.count())
        }
        Output::Terminal | Output::Above(_) => (Vec::new(), 0),
    }
}

impl Buffer {
    fn push(&mut self, text: &str) {
        for line in text.lines().filter(|line| !line.is_empty()) {
            if self.lines.len() == MAX_LINES {
                self.lines.pop_front();
                self.dropped += 1;
            }
            self.lines.push_back(line.to_owned());
        }
    }

    #[cfg_attr(
        not(feature = "dashboard"),
        allow(dead_code, reason = "only the dashboard buffers lines")
    )]
    fn count(&self) -> u64 {
        self.dropped + self.lines.len() as u64
    }

    fn print(self) {
        if self.dropped > 0 {
            print(&format!("… {} earlier lines omitted", self.dropped));
        }
        self.lines.iter().for_each(|line| print(line));
    }
}

/// Returns true if stderr is a terminal.
pub fn is_terminal() -> bool {
    std::io::stderr().is_terminal()
}

/// Returns true if stderr is a terminal that shows colors.
pub fn is_colored() -> bool {
    is_terminal() && wants_color()
}

/// Returns true unless the user disables colors: <https://no-color.org>.
pub fn wants_color() -> bool {
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    !no_color && std::env::var_os("TERM").is_none_or(|name| name != "dumb")
}

/// Maker of the writers of `tracing` events.
pub struct Log {
    /// True to color the level. `tracing` itself must not send escape sequences.
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

/// Writer of one `tracing` event.
pub struct LogWriter {
    /// Level of the event, if it is to be printed in color.
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

    /// Checks that an endless log takes bounded memory and keeps its newest lines.
    #[test]
    fn the_newest_lines_are_kept() {
        let mut buffer = Buffer::default();
        for number in 0..MAX_LINES + 2 {
            buffer.push(&format!("\nline {number}"));
        }
        assert_eq!(buffer.lines.len(), MAX_LINES);
        assert_eq!(buffer.lines[0], "line 2");
        assert_eq!(buffer.count(), MAX_LINES as u64 + 2);
    }
}
