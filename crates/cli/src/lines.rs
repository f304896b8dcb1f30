//! Where lines for a person go: to standard error, above the bar that is drawn there, or, while the dashboard has the
//! terminal, into its log, until it gives the terminal back.

use std::collections::VecDeque;
use std::io::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};

use indicatif::ProgressBar;

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

/// Takes what `tracing` writes: an event at a time.
pub struct LogWriter;

impl Write for LogWriter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        say(String::from_utf8_lossy(bytes).trim_end_matches('\n'));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
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
