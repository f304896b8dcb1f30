//! Worker: reads mutants and may die of it.

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use anyhow::Context;
use polymath_fuzz::{Format, Kind, Scratch};

use crate::Mutants;

/// Memory allowed beyond what the valid file took.
const MOST_MEMORY: u64 = 1 << 30;

/// Event that the worker reports for a mutant: this byte, then the number of the mutant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The mutant is about to be read.
    Begun = b'b' as isize,
    /// The mutant was read.
    Read = b'r' as isize,
    /// The mutant was refused.
    Refused = b'x' as isize,
    /// The reader panicked.
    Panicked = b'p' as isize,
    /// All mutants are done.
    Done = b'd' as isize,
}

impl Event {
    /// Returns the event with this byte.
    pub fn of(byte: u8) -> Option<Self> {
        let all = [
            Self::Begun,
            Self::Read,
            Self::Refused,
            Self::Panicked,
            Self::Done,
        ];
        all.into_iter().find(|told| *told as u8 == byte)
    }
}

/// Reader that fails in each of the ways that the supervisor looks for. The supervisor must count all of them.
pub const PLANTED: Format = Format {
    name: "planted",
    file: "questions.jsonl",
    kind: Kind::Binary,
    read: |at| {
        let bytes = std::fs::read(at.join("questions.jsonl"))?;
        let sum = bytes.iter().fold(0u32, |sum, byte| {
            sum.wrapping_mul(31).wrapping_add(u32::from(*byte))
        });
        match sum % 64 {
            0 => panic!("planted"),
            1 => std::process::abort(),
            2 => std::thread::sleep(std::time::Duration::from_secs(3600)),
            3 => {
                let filled = std::hint::black_box(vec![1u8; 3 << 30]);
                anyhow::ensure!(filled[1] == 1);
            }
            _ => {}
        }
        Ok(())
    },
};

/// Reads the mutants in order and reports each.
pub fn work(mutants: &Mutants) -> anyhow::Result<()> {
    let format = mutants.format()?;
    let sound = mutants.sound()?;
    let folder = folder(std::process::id());
    let scratch = Scratch::new(&mutants.corpus, &folder)?;
    if format.name != PLANTED.name {
        scratch.read(format, &sound)?;
    }
    limit_memory(sound.len() as u64)?;
    let mut output = std::io::stdout().lock();
    let mut tell = |told: Event, number: u64| {
        let mut record = [told as u8; 9];
        record[1..].copy_from_slice(&number.to_le_bytes());
        output.write_all(&record).and_then(|()| output.flush())
    };
    for number in mutants.from..mutants.to {
        let mutant = mutants.bytes(&sound, number)?;
        tell(Event::Begun, number)?;
        let read = catch_unwind(AssertUnwindSafe(|| scratch.read(format, &mutant)));
        let told = match read {
            Ok(Ok(())) => Event::Read,
            Ok(Err(_)) => Event::Refused,
            Err(_) => Event::Panicked,
        };
        tell(told, number)?;
    }
    tell(Event::Done, mutants.to)?;
    Ok(())
}

/// Returns the folder of the worker with this process id. The supervisor removes it.
pub fn folder(id: u32) -> PathBuf {
    std::env::temp_dir().join(format!("mutants-{id}"))
}

/// Limits the memory of this process: a larger allocation kills it.
fn limit_memory(file: u64) -> anyhow::Result<()> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let size = status.lines().find_map(|line| line.strip_prefix("VmSize:"));
    let kilobytes = size.and_then(|size| size.split_whitespace().next()?.parse::<u64>().ok());
    let used = kilobytes.context("`/proc/self/status` says no `VmSize`")? * 1024;
    let limit = used + file + MOST_MEMORY;
    let limit = rustix::process::Rlimit {
        current: Some(limit),
        maximum: Some(limit),
    };
    Ok(rustix::process::setrlimit(
        rustix::process::Resource::As,
        limit,
    )?)
}
