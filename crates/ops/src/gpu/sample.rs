//! Work of a launch, measured by the emulator on all blocks or on some of each class.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};

use candle_core::{Result, bail};

use super::counts::{Class, Emulator, Sampling, Work};
use super::host::emulate;
use super::launch::Launch;

/// Bytes that a GPU moves at once.
const SECTOR: u64 = 32;

thread_local! {
    /// Work of the launches that this thread measured, by all that it depends on.
    static SAMPLES: RefCell<HashMap<Signature, Work>> = RefCell::default();
}

#[derive(PartialEq, Eq, Hash)]
struct Signature {
    kernel: (&'static str, usize),
    geometry: [usize; 5],
    /// Values of the arguments that are not pointers, and the bytes of those that are.
    arguments: Vec<u64>,
    /// Number of blocks of each class.
    classes: Vec<(Class, u64)>,
}

/// Blocks of one class.
struct Group {
    count: u64,
    first: u64,
    last: u64,
}

/// Work of some blocks, with the bytes moved through each argument.
#[derive(PartialEq, Eq)]
struct Measured {
    work: [u64; 3],
    moved: Vec<[u64; 2]>,
}

/// Returns the work of a launch.
///
/// # Safety
/// As [`Launch::run`].
pub(super) unsafe fn measure(
    launch: &Launch,
    emulator: Emulator,
    sampling: Sampling,
) -> Result<Work> {
    let groups = match (sampling, &launch.classes) {
        (Sampling::Classes, Some(class)) => groups(launch.grid, class),
        _ => {
            // SAFETY: the caller vouches for the arguments.
            let all = unsafe { run(launch, emulator, None)? };
            return Ok(total(launch, &[(1, all)]));
        }
    };
    let signature = signature(launch, &groups);
    if let Some(work) = SAMPLES.with_borrow(|samples| samples.get(&signature).copied()) {
        return Ok(work);
    }
    let mut measured = Vec::new();
    for (class, group) in &groups {
        // SAFETY: the caller vouches for the arguments.
        let first = unsafe { run(launch, emulator, Some(group.first))? };
        if group.count > 1 {
            // SAFETY: as before.
            let last = unsafe { run(launch, emulator, Some(group.last))? };
            if first.work != last.work {
                bail!(
                    "{}: blocks `{}` and `{}` of class `{class:?}` have different work: `{:?}` and `{:?}`",
                    launch.kernel.name,
                    group.first,
                    group.last,
                    first.work,
                    last.work
                )
            }
        }
        measured.push((group.count, first));
    }
    let work = total(launch, &measured);
    SAMPLES.with_borrow_mut(|samples| samples.insert(signature, work));
    Ok(work)
}

/// Groups the blocks of a grid by class.
fn groups([x, y, z]: [usize; 3], class: &dyn Fn([usize; 3]) -> Class) -> BTreeMap<Class, Group> {
    let mut groups: BTreeMap<Class, Group> = BTreeMap::new();
    for at in 0..x * y * z {
        let block = at as u64;
        let group = groups.entry(class([at % x, at / x % y, at / x / y]));
        let group = group.or_insert(Group {
            count: 0,
            first: block,
            last: block,
        });
        group.count += 1;
        group.last = block;
    }
    groups
}

fn signature(launch: &Launch, groups: &BTreeMap<Class, Group>) -> Signature {
    let [x, y, z] = launch.grid;
    let arguments = launch.arguments.iter();
    Signature {
        kernel: (launch.kernel.name, launch.kernel.head_dim),
        geometry: [x, y, z, launch.threads, launch.shared],
        arguments: arguments
            .map(|argument| match argument.bytes {
                0 => argument.word,
                bytes => bytes,
            })
            .collect(),
        classes: (groups.iter())
            .map(|(class, group)| (*class, group.count))
            .collect(),
    }
}

/// Runs one block of a launch, or all.
///
/// # Safety
/// As [`Launch::run`].
unsafe fn run(launch: &Launch, emulator: Emulator, block: Option<u64>) -> Result<Measured> {
    let mut moved = vec![[0; 2]; launch.arguments.len() + 1];
    // SAFETY: the caller vouches for the arguments.
    let work = unsafe { emulate(launch, emulator, block, &mut moved)? };
    Ok(Measured { work, moved })
}

/// Adds up blocks, each as often as it stands for others. Through an argument, a launch moves at most the bytes that it
/// touches there.
fn total(launch: &Launch, measured: &[(u64, Measured)]) -> Work {
    let mut total = Work {
        launches: 1,
        ..Work::default()
    };
    for (count, of_block) in measured {
        let [read, written, multiply_adds] = of_block.work.map(|work| work * count);
        total.read += read;
        total.written += written;
        total.multiply_adds += multiply_adds;
    }
    for place in 0..=launch.arguments.len() {
        let argument = launch.arguments.get(place);
        let most = argument.map_or(u64::MAX, |argument| {
            argument.touched.next_multiple_of(SECTOR)
        });
        for direction in 0..2 {
            let moved = measured
                .iter()
                .map(|(count, block)| count * block.moved[place][direction]);
            total.moved += moved.sum::<u64>().min(most);
        }
    }
    total
}
