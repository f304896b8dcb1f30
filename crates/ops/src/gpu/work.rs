//! Work of kernels, matrix products and Candle's operations, counted on the CPU.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use candle_core::DType;

use super::counts::{EmulatedWork, KernelCount, Sampling, Unit, Work};

/// Counting that is under way.
struct Counting {
    sampling: Sampling,
    counts: BTreeMap<String, KernelCount>,
}

thread_local! {
    static WORK: Cell<EmulatedWork> = const { Cell::new(EmulatedWork {
        launches: 0,
        products: 0,
        read: 0,
        written: 0,
        multiply_adds: 0,
    }) };
    static COUNTING: RefCell<Option<Counting>> = const { RefCell::new(None) };
}

/// Returns the emulated work of this thread since the last call.
pub fn emulated_work() -> EmulatedWork {
    WORK.take()
}

/// Counts the work that `run` would give to a GPU, by kernel, in the order of their names. The operations must be those
/// of [`Implementation::Emulated`](crate::Implementation::Emulated). They compute nothing of use: with
/// [`Sampling::Classes`] most blocks do not run, and matrix products are counted from their shapes and left at zero.
///
/// Counted are: kernels, by the accesses that the emulator sees; matrix products, copies and Candle's zeros and sums of
/// gradients, by their shapes, where they are called.
pub fn counted<T>(sampling: Sampling, run: impl FnOnce() -> T) -> (T, Vec<KernelCount>) {
    COUNTING.set(Some(Counting {
        sampling,
        counts: BTreeMap::new(),
    }));
    let result = run();
    let counting = COUNTING.take();
    let counts = counting.map(|counting| counting.counts.into_values().collect());
    (result, counts.unwrap_or_default())
}

/// Returns true if this thread counts work, so that values do not matter.
pub(super) fn is_counting() -> bool {
    COUNTING.with_borrow(Option::is_some)
}

/// Returns how this thread counts work, if it does.
pub(super) fn sampling() -> Option<Sampling> {
    COUNTING.with_borrow(|counting| counting.as_ref().map(|counting| counting.sampling))
}

/// Adds the work of a kernel.
pub(super) fn add_kernel(name: &str, unit: Unit, found: Work) {
    let mut work = WORK.get();
    work.launches += found.launches;
    work.read += found.read;
    work.written += found.written;
    work.multiply_adds += found.multiply_adds;
    WORK.set(work);
    add(name, unit, found);
}

/// Adds a product (m, k)·(k, n), with the types of the factors and of the result, which is read too if it `adds`.
pub(super) fn add_product(
    [batch, m, k, n]: [usize; 4],
    [of_factors, of_result]: [DType; 2],
    unit: Unit,
    adds: bool,
) {
    let multiply_adds = (batch * m * k * n) as u64;
    let mut work = WORK.get();
    work.products += 1;
    work.multiply_adds += multiply_adds;
    WORK.set(work);
    if !is_counting() {
        return;
    }
    let name = match batch {
        1 => format!("product {m} × {k} × {n}, {unit}"),
        _ => format!("product {batch} × {m} × {k} × {n}, {unit}"),
    };
    let of_result = (batch * m * n * of_result.size_in_bytes()) as u64;
    let read = (batch * (m * k + k * n) * of_factors.size_in_bytes()) as u64;
    let read = read + if adds { of_result } else { 0 };
    let work = Work {
        launches: 1,
        read,
        written: of_result,
        moved: read + of_result,
        multiply_adds,
    };
    add(&name, unit, work);
}

/// Adds launches outside of kernels and products: copies, uploads, operations of Candle.
pub(crate) fn note(name: &str, launches: u64, [read, written]: [usize; 2]) {
    if !is_counting() {
        return;
    }
    let work = Work {
        launches,
        read: read as u64,
        written: written as u64,
        moved: (read + written) as u64,
        multiply_adds: 0,
    };
    add(name, Unit::F32, work);
}

fn add(name: &str, unit: Unit, found: Work) {
    COUNTING.with_borrow_mut(|counting| {
        let Some(counting) = counting else {
            return;
        };
        let count = counting.counts.entry(name.to_owned());
        let count = count.or_insert_with(|| KernelCount {
            name: name.to_owned(),
            launches: 0,
            accessed: 0,
            moved: 0,
            multiply_adds: 0,
            unit,
        });
        count.launches += found.launches;
        count.accessed += found.read + found.written;
        count.moved += found.moved;
        count.multiply_adds += found.multiply_adds;
    });
}
