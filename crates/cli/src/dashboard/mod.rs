//! A run on the whole terminal.
//!
//! [`Dashboard`] is one more observer of the training loop. It draws on a thread of its own: a step may take many seconds,
//! and keys, another size of the window and the clock must not wait for it. What training pays for it is a lock and a few
//! numbers a step; drawing happens when something has changed, at most ten times a second, and goes to the terminal
//! without the lock, so that a slow terminal slows nothing down.

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
use state::State;
use view::Moment;

/// Time between two drawings.
const FRAME: Duration = Duration::from_millis(100);
/// Held lines that a drawing may need.
const LOG_LINES: usize = 32;

/// The dashboard of one run; dropped, it gives the terminal back, and prints what was held.
pub struct Dashboard {
    state: Arc<Mutex<State>>,
    ended: Arc<AtomicBool>,
    drawing: Option<JoinHandle<()>>,
    /// The last evaluation in a line, which stays when the screen is gone.
    evaluation: Option<String>,
}

impl Dashboard {
    /// Takes the terminal for a run of `flops_per_token` on a machine whose peak is `peak` FLOP/s.
    ///
    /// # Errors
    /// The terminal can't be taken.
    pub fn open(about: About, flops_per_token: f64, peak: f64) -> std::io::Result<Self> {
        screen::enter()?;
        lines::hold();
        let mut dashboard = Self {
            state: Arc::new(Mutex::new(State::new(about, flops_per_token, peak))),
            ended: Arc::default(),
            drawing: None,
            evaluation: None,
        };
        let (state, ended) = (dashboard.state.clone(), dashboard.ended.clone());
        let thread = std::thread::Builder::new().name("dashboard".into());
        dashboard.drawing = Some(thread.spawn(move || draw_until(&ended, &state))?);
        Ok(dashboard)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Dashboard {
    fn drop(&mut self) {
        signals::training_ends();
        self.ended.store(true, Ordering::SeqCst);
        if let Some(drawing) = self.drawing.take() {
            // If it panicked, that was told already, and the run went on without it.
            let _ = drawing.join();
        }
        drop(GivesBack);
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

/// Gives the terminal back when drawing ends, also by an error or a panic: the run goes on, and lines are printed.
struct GivesBack;

impl Drop for GivesBack {
    fn drop(&mut self) {
        screen::leave();
        lines::release();
    }
}

/// Draws what has changed and takes keys, until the run has ended or the terminal is gone.
fn draw_until(ended: &AtomicBool, state: &Mutex<State>) {
    let _gives_back = GivesBack;
    let Ok(mut screen) = screen::open() else {
        return;
    };
    let begin = Instant::now();
    let mut shown = None;
    while !ended.load(Ordering::SeqCst) && screen::is_up() {
        let (log, told) = lines::held(LOG_LINES);
        let elapsed = Duration::from_secs(begin.elapsed().as_secs());
        let stopping = signals::is_stopping();
        let current = Some((lock(state).changes, told, elapsed, stopping));
        if shown != current {
            let drawn = screen::draw(&mut screen, |frame| {
                // Held while the picture is made, not while it goes to the terminal.
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

/// `q`, and what would have been SIGINT if the terminal still made signals of keys.
fn stops(key: KeyEvent) -> bool {
    let interrupt = key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c');
    key.kind == KeyEventKind::Press && (key.code == KeyCode::Char('q') || interrupt)
}
