//! Time that a worker may take for one mutant.

use std::process::Child;
use std::time::{Duration, Instant};

use crate::worker::PLANTED;

/// Clock ticks per second in the system's counts of processor time: the same on every Linux.
const TICKS_PER_SECOND: u64 = 100;

/// Time limits of one mutant.
#[derive(Debug, Clone, Copy)]
pub struct TimeLimits {
    /// Processor time.
    pub computing: Duration,
    /// Wall-clock time.
    pub all: Duration,
}

/// Returns the time limits of a format. A reader that computes longer for one mutant hangs; so does one that waits
/// longer than even a busy machine would let it wait. The limits of `planted`, which hangs on purpose, are short.
pub fn time_limits(name: &str) -> TimeLimits {
    let seconds = |computing, all| TimeLimits {
        computing: Duration::from_secs(computing),
        all: Duration::from_secs(all),
    };
    match name == PLANTED.name {
        true => seconds(1, 1),
        false => seconds(10, 60),
    }
}

/// Time of a worker's last message.
pub struct LastMessage {
    clock: Instant,
    computed: Duration,
}

impl LastMessage {
    pub fn now(worker: &Child) -> Self {
        Self {
            clock: Instant::now(),
            computed: computed(worker),
        }
    }

    pub fn is_over(&self, limits: TimeLimits, worker: &Child) -> bool {
        self.clock.elapsed() > limits.all
            || computed(worker).saturating_sub(self.computed) > limits.computing
    }
}

/// Returns the processor time of a worker; 0 if the process is gone.
fn computed(worker: &Child) -> Duration {
    let text = std::fs::read_to_string(format!("/proc/{}/stat", worker.id())).unwrap_or_default();
    // The program name in parentheses may contain spaces. The 12th and 13th numbers after it are user and system time.
    let fields = text
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace();
    let ticks: u64 = fields
        .skip(11)
        .take(2)
        .filter_map(|count| count.parse::<u64>().ok())
        .sum();
    Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND)
}
