//! Handling of signals: a training run stops and saves, everything else ends at once. A signal that was ignored when
//! the process started stays ignored: `nohup` protects a run from the end of its terminal, and a shell protects a
//! background job from Ctrl-C.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::failure::Failure;
use crate::{dashboard, lines};

/// Time that work without anything to save has to end by itself after a signal, before the process is ended.
const PATIENCE: Duration = Duration::from_secs(3);

/// Stop flag of the process, shared by all its runs.
static STOP: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// Exit code after a stop by a person.
pub const INTERRUPTED: u8 = 130;
/// Exit code after a stop by the batch system or `--max-time`: `EX_TEMPFAIL` of `sysexits.h`, to be tried again.
pub const TIME_UP: u8 = 75;

/// Variables that batch systems set in a job: Slurm, PBS and Torque, LSF, Grid Engine.
const JOBS: [&str; 4] = ["SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "SGE_TASK_ID"];

/// True if the first stop was by the batch system or `--max-time`.
static IS_TIME_UP: AtomicBool = AtomicBool::new(false);

/// Current phase, which determines the effect of a signal.
static PHASE: AtomicU8 = AtomicU8::new(Phase::Idle as u8);

/// Phase of the process.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Phase {
    /// There is nothing to save: a signal ends the process at once.
    Idle,
    /// Work before or after training. It has a short time to end by itself, and nothing is lost if it does not.
    Around,
    /// Training, which saves when it is stopped.
    Training,
    /// Serving, which ends by itself when it is stopped.
    #[cfg_attr(
        not(feature = "serve"),
        allow(dead_code, reason = "only `serve` enters it")
    )]
    Serving,
}

fn enter(phase: Phase) {
    PHASE.store(phase as u8, Ordering::SeqCst);
}

fn is_in(phase: Phase) -> bool {
    PHASE.load(Ordering::SeqCst) == phase as u8
}

/// Installs the signal handlers. Call it once, before anything else changes the handling of signals.
pub fn install() -> Result<(), Failure> {
    listen().context("signals can't be handled")?;
    Ok(())
}

#[cfg(unix)]
fn listen() -> std::io::Result<()> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2, SIGXCPU};
    // If the system does not tell which signals are ignored, SIGHUP is not handled: by default, it ends the process.
    let (handled, ignored) = match ignored() {
        Some(mask) => (
            &[SIGINT, SIGTERM, SIGUSR1, SIGUSR2, SIGXCPU, SIGHUP][..],
            mask,
        ),
        None => (&[SIGINT, SIGTERM, SIGUSR1, SIGUSR2, SIGXCPU][..], 0),
    };
    let handled = handled
        .iter()
        .filter(|signal| ignored & (1 << (**signal - 1)) == 0);
    let is_job = JOBS.iter().any(|name| std::env::var_os(name).is_some());
    let mut signals = signal_hook::iterator::Signals::new(handled)?;
    let thread = std::thread::Builder::new().name("signals".into());
    thread.spawn(move || {
        for signal in signals.forever() {
            match signal {
                SIGUSR1 | SIGUSR2 | SIGXCPU => time_is_up("the batch system warns"),
                SIGTERM if is_job => time_is_up("the batch system ends the job"),
                _ => interrupt(),
            }
        }
    })?;
    Ok(())
}

/// Returns a mask in which bit `signal − 1` is set for each ignored signal, or `None` if the system has no `/proc`.
#[cfg(unix)]
fn ignored() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))?;
    u64::from_str_radix(mask.trim(), 16).ok()
}

#[cfg(not(unix))]
fn listen() -> Result<(), ctrlc::Error> {
    ctrlc::set_handler(interrupt)
}

/// Has the effect of SIGINT. The dashboard calls it for its keys.
pub fn interrupt() {
    if STOP.swap(true, Ordering::SeqCst) || is_in(Phase::Idle) {
        leave(INTERRUPTED);
    }
    if is_in(Phase::Training) {
        lines::say("\nstopping after this step, then saving; interrupt again to leave at once");
        return;
    }
    lines::say("\nstopping; interrupt again to leave at once");
    leave_without_run(INTERRUPTED);
}

/// Stops as [`interrupt`] does, without a person: a second call changes nothing, since a batch system warns before it
/// kills.
fn time_is_up(reason: &str) {
    if is_in(Phase::Idle) {
        lines::say(&format!("{reason}: nothing to save"));
        leave(TIME_UP);
    }
    if STOP.swap(true, Ordering::SeqCst) {
        return;
    }
    IS_TIME_UP.store(true, Ordering::SeqCst);
    if is_in(Phase::Training) {
        lines::say(&format!(
            "\n{reason}: stopping after this step, then saving"
        ));
        return;
    }
    lines::say(&format!("\n{reason}: stopping"));
    leave_without_run(TIME_UP);
}

/// Stops the runs of the process after `limit`, counted from now.
///
/// # Errors
/// Fails if the thread can't be started.
pub fn stop_after(limit: Duration) -> Result<(), Failure> {
    let clock = std::thread::Builder::new().name("max-time".into());
    let wait = move || {
        std::thread::sleep(limit);
        time_is_up("`--max-time` is up");
    };
    clock
        .spawn(wait)
        .context("`--max-time`: no clock can be started")?;
    Ok(())
}

/// Returns the exit code of a run that was stopped and saved.
pub fn exit_code() -> u8 {
    match IS_TIME_UP.load(Ordering::SeqCst) {
        true => TIME_UP,
        false => INTERRUPTED,
    }
}

/// Ends work around training that does not end by itself within [`PATIENCE`].
fn leave_without_run(code: u8) {
    if is_in(Phase::Serving) {
        return;
    }
    let watch = std::thread::Builder::new().name("patience".into());
    let watching = watch.spawn(move || {
        let begin = Instant::now();
        while begin.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(50));
            if !is_in(Phase::Around) {
                return;
            }
        }
        lines::say("stopped; the same command continues, a run with `--resume`");
        leave(code);
    });
    if watching.is_err() {
        leave(code);
    }
}

/// Ends the process: restores the terminal and removes unfinished files.
fn leave(code: u8) -> ! {
    dashboard::leave();
    lines::release();
    polymath_base::abandon();
    std::process::exit(i32::from(code));
}

/// Returns true if the run was asked to stop.
#[cfg(feature = "dashboard")]
pub fn is_stopping() -> bool {
    STOP.load(Ordering::SeqCst)
}

/// Marks the beginning of training. From now on, a signal stops the run, which saves.
pub fn training_begins() {
    enter(Phase::Training);
}

/// Marks the end of training, also after a failure.
pub fn training_ends() {
    if is_in(Phase::Training) {
        enter(Phase::Around);
    }
}

/// Guard during one or more runs: as long as it exists, the first signal only sets the stop flag. Without a guard, a
/// signal ends the process at once.
pub struct StopSignal {
    flag: Arc<AtomicBool>,
}

impl StopSignal {
    /// Makes the guard of training runs.
    pub fn listen() -> Self {
        enter(Phase::Around);
        Self { flag: STOP.clone() }
    }

    /// Makes the guard of a server, which has nothing to save and ends by itself.
    #[cfg(feature = "serve")]
    pub fn serve() -> Self {
        enter(Phase::Serving);
        Self { flag: STOP.clone() }
    }

    /// Returns the flag that is set when the run is to stop.
    pub fn flag(&self) -> Arc<AtomicBool> {
        self.flag.clone()
    }
}

impl Drop for StopSignal {
    fn drop(&mut self) {
        enter(Phase::Idle);
    }
}
