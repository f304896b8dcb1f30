//! Full-screen dashboard of a run.
//!
//! [`Dashboard`] is an observer of the training loop. It draws on its own thread, since a step may take many seconds
//! and keys, resizing and the clock must not wait for it. Per step, training only takes a lock and stores a few
//! numbers. A frame is drawn after a change, at most ten times per second. It is written to the terminal without
//! holding the lock, so that a slow terminal does not slow down training.

mod curve;
mod screen;
mod state;
mod view;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use polymath_train::{EvaluationMetrics, Observer, StepMetrics};

pub use screen::leave;
pub use state::{About, Group};

use crate::{console, lines, signals};
use state::DashboardState;
use view::Moment;

/// Minimum time between two frames.
const FRAME: Duration = Duration::from_millis(100);
/// Maximum number of buffered log lines that a frame shows.
const LOG_LINES: usize = 32;

/// Dashboard of one run. When dropped, it restores the terminal and prints the buffered lines.
pub struct Dashboard {
    state: Arc<Mutex<DashboardState>>,
    ended: Arc<AtomicBool>,
    drawing: Option<JoinHandle<()>>,
    /// Last evaluation as a line, printed after the dashboard is closed.
    evaluation: Option<String>,
}

impl Dashboard {
    /// Opens the dashboard of a run of `flops_per_token`, on a machine with a peak rate of `peak` FLOP/s.
    ///
    /// # Errors
    /// Fails if the terminal can't be switched to the dashboard.
    pub fn open(about: About, flops_per_token: f64, peak: f64) -> std::io::Result<Self> {
        screen::enter()?;
        lines::buffer();
        let mut dashboard = Self {
            state: Arc::new(Mutex::new(DashboardState::new(
                about,
                flops_per_token,
                peak,
            ))),
            ended: Arc::default(),
            drawing: None,
            evaluation: None,
        };
        let (state, ended) = (dashboard.state.clone(), dashboard.ended.clone());
        let thread = std::thread::Builder::new().name("dashboard".into());
        dashboard.drawing = Some(thread.spawn(move || draw_until(&ended, &state))?);
        Ok(dashboard)
    }

    fn state(&self) -> MutexGuard<'_, DashboardState> {
        lock(&self.state)
    }
}

fn lock(state: &Mutex<DashboardState>) -> MutexGuard<'_, DashboardState> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Dashboard {
    fn drop(&mut self) {
        signals::training_ends();
        self.ended.store(true, Ordering::SeqCst);
        if let Some(drawing) = self.drawing.take() {
            // A panic of the drawing thread was already reported, and the run continued without a dashboard.
            let _ = drawing.join();
        }
        drop(TerminalGuard);
        if let Some(evaluation) = &self.evaluation {
            lines::say(evaluation);
        }
    }
}

impl Observer for Dashboard {
    fn begin(&mut self, step: u64, total: u64) {
        signals::training_begins();
        let mut earlier = Vec::new();
        if step > 0 {
            lines::say(&console::resumed(step, total));
            let run = self.state().about.run.clone();
            earlier = polymath_train::read_metrics(&run).unwrap_or_else(|error| {
                lines::say(&error.to_string());
                Vec::new()
            });
        }
        self.state().begin(step, total, earlier);
    }

    fn after_step(&mut self, metrics: &StepMetrics) {
        self.state().after_step(metrics);
    }

    fn preparing(&mut self, _work: &str, done: u64, total: u64) {
        self.state().preparing(done, total);
    }

    fn evaluating(&mut self, done: u64, total: u64) {
        self.state().evaluating(done, total);
    }

    fn after_evaluation(&mut self, metrics: &EvaluationMetrics, best: bool) {
        self.state().after_evaluation(metrics, best);
        self.evaluation = Some(console::evaluation(metrics, best));
    }

    fn after_checkpoint(&mut self, path: &Path) {
        self.state().after_checkpoint(path);
    }

    fn end(&mut self) {
        signals::training_ends();
    }

    fn message(&mut self, text: &str) {
        lines::say(text);
    }
}

/// Guard that restores the terminal when drawing ends, also after an error or a panic. The run continues with printed
/// lines.
struct TerminalGuard;

impl Drop for TerminalGuard {
    fn drop(&mut self) {
        screen::leave();
        lines::release();
    }
}

/// Draws changes and reads keys until the run ends or the dashboard is closed.
fn draw_until(ended: &AtomicBool, state: &Mutex<DashboardState>) {
    let _gives_back = TerminalGuard;
    let Ok(mut screen) = screen::open() else {
        return;
    };
    let begin = Instant::now();
    let mut shown = None;
    while !ended.load(Ordering::SeqCst) && screen::is_up() {
        let (log, told) = lines::buffered(LOG_LINES);
        let elapsed = Duration::from_secs(begin.elapsed().as_secs());
        let stopping = signals::is_stopping();
        let current = Some((lock(state).changes, told, elapsed, stopping));
        if shown != current {
            let drawn = screen::draw(&mut screen, |frame| {
                // Holds the lock while the frame is made, not while it is written to the terminal.
                let state = lock(state);
                let moment = Moment {
                    state: &state,
                    log: &log,
                    elapsed,
                    stopping,
                };
                view::draw(frame, &moment);
            });
            if drawn.is_err() {
                return;
            }
            shown = current;
        }
        match screen::wait(FRAME) {
            Some(Event::Resize(..)) => shown = None,
            Some(Event::Key(key)) if stops(key) => signals::interrupt(),
            _ => {}
        }
    }
}

/// Returns true for `q`, and for Ctrl-C, which sends no SIGINT while the terminal is in raw mode.
fn stops(key: KeyEvent) -> bool {
    let interrupt = key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c');
    key.kind == KeyEventKind::Press && (key.code == KeyCode::Char('q') || interrupt)
}
