//! Supervisor: starts workers and counts the outcomes of their mutants.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use clap::Args;
use polymath_fuzz::{FORMATS, corpus};

use crate::time::{LastMessage, TimeLimits, time_limits};
use crate::worker::{self, Event, PLANTED};

/// Interval between checks of a silent worker.
const TICK: Duration = Duration::from_millis(500);
/// Mutants per worker process.
const PER_WORKER: u64 = 20_000;

/// Formats and mutants to read.
#[derive(Args)]
pub struct Run {
    /// Formats; default: all.
    formats: Vec<String>,
    /// Mutants of each format.
    #[arg(long, default_value_t = 50_000)]
    mutants: u64,
    /// Seed of the alterations.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// First mutant; the command that reproduces a fault starts there.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Stop each format after so many seconds.
    #[arg(long)]
    seconds: Option<u64>,
    /// Folder written by `mutants corpus`; default: a new temporary one.
    #[arg(long)]
    corpus: Option<PathBuf>,
    /// Read `planted` too, whose reader fails on purpose: the exit code is 1 unless every kind of failure is counted.
    #[arg(long)]
    self_check: bool,
}

/// Outcomes of a format's mutants.
#[derive(Default)]
struct Count {
    read: u64,
    refused: u64,
    seconds: f64,
    faults: Vec<Fault>,
}

/// Failure of a reader.
struct Fault {
    number: u64,
    kind: Failure,
    told: String,
}

/// Kind of a reader's failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Failure {
    Panic,
    Hang,
    Memory,
    Death,
}

impl Run {
    /// Reads the mutants and prints the table.
    pub fn run(&self) -> anyhow::Result<()> {
        let folder = std::env::temp_dir().join(format!("mutants-corpus-{}", std::process::id()));
        let corpus = match &self.corpus {
            Some(corpus) => corpus.clone(),
            None => {
                corpus::write(&folder)?;
                folder.clone()
            }
        };
        let mut sound = true;
        if self.self_check {
            let planted = self.count(&corpus, PLANTED.name, (0, 400), None)?;
            let kinds = kinds(&planted);
            sound = [
                Failure::Panic,
                Failure::Hang,
                Failure::Memory,
                Failure::Death,
            ]
            .iter()
            .all(|kind| kinds.contains_key(kind));
            println!(
                "planted: {}: {kinds:?}",
                if sound { "detected" } else { "MISSED" }
            );
        }
        println!(
            "{:18} {:>9} {:>9} {:>9} {:>7} {:>6} {:>7} {:>7} {:>8}",
            "format",
            "mutants",
            "read",
            "refused",
            "panics",
            "hangs",
            "memory",
            "deaths",
            "seconds"
        );
        let known: Vec<&str> = FORMATS.iter().map(|format| format.name).collect();
        let chosen = match self.formats.is_empty() {
            true => known,
            false => self.formats.iter().map(String::as_str).collect(),
        };
        for name in chosen {
            let range = (self.from, self.from + self.mutants);
            let count = self.count(&corpus, name, range, self.seconds)?;
            self.show(name, &count);
            sound &= count.faults.is_empty();
        }
        if self.corpus.is_none() {
            std::fs::remove_dir_all(folder)?;
        }
        std::process::exit(i32::from(!sound));
    }

    fn show(&self, name: &str, count: &Count) {
        let kinds = kinds(count);
        let of = |kind| kinds.get(&kind).copied().unwrap_or(0);
        println!(
            "{name:18} {:>9} {:>9} {:>9} {:>7} {:>6} {:>7} {:>7} {:>8.0}",
            count.read + count.refused + count.faults.len() as u64,
            count.read,
            count.refused,
            of(Failure::Panic),
            of(Failure::Hang),
            of(Failure::Memory),
            of(Failure::Death),
            count.seconds
        );
        // Repetitions of the same message are one fault.
        let mut seen = BTreeMap::new();
        for fault in &count.faults {
            seen.entry((fault.kind, place_of(&fault.told)))
                .or_insert(fault);
        }
        for ((kind, _), fault) in seen {
            println!(
                "  FAULT {kind:?} in mutant {}: {}\n    mutants run {name} --seed {} --from {} --mutants 1",
                fault.number, fault.told, self.seed, fault.number
            );
        }
    }

    /// Starts workers until all mutants are read; each starts after the mutant that killed the last worker.
    fn count(
        &self,
        corpus: &std::path::Path,
        name: &str,
        (from, to): (u64, u64),
        seconds: Option<u64>,
    ) -> anyhow::Result<Count> {
        let begin = Instant::now();
        let mut count = Count::default();
        let mut next = from;
        while next < to && seconds.is_none_or(|most| begin.elapsed().as_secs() < most) {
            let last = to.min(next + PER_WORKER);
            let mut worker = Command::new(std::env::current_exe()?);
            worker
                .args(["worker", "--format", name])
                .arg("--corpus")
                .arg(corpus);
            worker.args([
                format!("--seed={}", self.seed),
                format!("--from={next}"),
                format!("--to={last}"),
            ]);
            worker
                .env("RAYON_NUM_THREADS", "1")
                .env_remove("RUST_BACKTRACE");
            worker
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped());
            let stopped = seconds.map(|most| begin + Duration::from_secs(most));
            let limits = Limits {
                of_reader: time_limits(name),
                stopped,
            };
            next = watch(worker.spawn()?, next, limits, &mut count)?;
        }
        count.seconds = begin.elapsed().as_secs_f64();
        Ok(count)
    }
}

/// Time limits of a worker.
#[derive(Clone, Copy)]
struct Limits {
    /// Limits of one mutant.
    of_reader: TimeLimits,
    /// End of the format's time.
    stopped: Option<Instant>,
}

/// Counts faults by kind.
fn kinds(count: &Count) -> BTreeMap<Failure, usize> {
    let mut kinds = BTreeMap::new();
    for fault in &count.faults {
        *kinds.entry(fault.kind).or_default() += 1;
    }
    kinds
}

/// Returns the source of a message: its text without the parts that differ between mutants.
fn place_of(told: &str) -> String {
    match told
        .split_once(" at ")
        .and_then(|(_, rest)| rest.split_whitespace().next())
    {
        Some(place) => place.to_owned(),
        None => told
            .chars()
            .filter(|sign| !sign.is_ascii_digit())
            .take(80)
            .collect(),
    }
}

/// Follows one worker to its end and returns the number of the next mutant.
fn watch(mut process: Child, first: u64, limits: Limits, count: &mut Count) -> anyhow::Result<u64> {
    let records = listen(&mut process);
    let errors = gather(&mut process);
    let mut reading = None;
    let mut next = first;
    let mut since = LastMessage::now(&process);
    loop {
        let told = records.recv_timeout(TICK);
        if told.is_ok() {
            since = LastMessage::now(&process);
        }
        match told {
            Ok((Event::Begun, number)) => (reading, next) = (Some(number), number + 1),
            Ok((Event::Done, number)) => next = number,
            Ok((told, number)) => {
                reading = None;
                match told {
                    Event::Read => count.read += 1,
                    Event::Refused => count.refused += 1,
                    _ => count.faults.push(Fault {
                        number,
                        kind: Failure::Panic,
                        told: String::new(),
                    }),
                }
                if limits.stopped.is_some_and(|end| Instant::now() > end) {
                    process.kill()?;
                    break;
                }
            }
            Err(RecvTimeoutError::Timeout) if !since.is_over(limits.of_reader, &process) => {}
            Err(RecvTimeoutError::Timeout) => {
                process.kill()?;
                let number = reading.take().unwrap_or(next);
                count.faults.push(Fault {
                    number,
                    kind: Failure::Hang,
                    told: format!("takes more than {} s", limits.of_reader.computing.as_secs()),
                });
                next = number + 1;
                break;
            }
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    let status = process.wait()?;
    // The folder is missing if the worker died before creating it.
    let _ = std::fs::remove_dir_all(worker::folder(process.id()));
    let told = errors.join().unwrap_or_default();
    describe_panics(count, &told);
    if let Some(number) = reading.filter(|_| !status.success()) {
        count.faults.push(death(number, status, &told));
    } else if !status.success() && next == first {
        anyhow::bail!("a worker can't begin: {status}: {told}");
    }
    Ok(next)
}

/// Returns the fault of a worker that died while it read a mutant.
fn death(number: u64, status: ExitStatus, told: &str) -> Fault {
    let memory = told.contains("memory allocation of") || told.contains("out of memory");
    Fault {
        number,
        kind: match memory {
            true => Failure::Memory,
            false => Failure::Death,
        },
        told: format!("{status}: {}", told.lines().last().unwrap_or_default()),
    }
}

/// Assigns the messages that the worker has printed to the newest panics, in order.
fn describe_panics(count: &mut Count, told: &str) {
    let mut messages = Vec::new();
    let mut lines = told.lines();
    while let Some(line) = lines.next() {
        if line.contains("panicked at") {
            messages.push(format!("{line} {}", lines.next().unwrap_or_default()));
        }
    }
    let silent = count
        .faults
        .iter_mut()
        .filter(|fault| fault.kind == Failure::Panic && fault.told.is_empty());
    for (fault, message) in silent.zip(messages) {
        fault.told = message;
    }
}

/// Receives the worker's records in a thread.
fn listen(worker: &mut Child) -> Receiver<(Event, u64)> {
    let mut output = worker.stdout.take().expect("it is piped");
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut record = [0; 9];
        while output.read_exact(&mut record).is_ok() {
            let number = u64::from_le_bytes(std::array::from_fn(|at| record[at + 1]));
            let Some(told) = Event::of(record[0]) else {
                return;
            };
            if sender.send((told, number)).is_err() {
                return;
            }
        }
    });
    receiver
}

/// Collects the worker's stderr in a thread.
fn gather(worker: &mut Child) -> std::thread::JoinHandle<String> {
    let mut errors = worker.stderr.take().expect("it is piped");
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = errors.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}
