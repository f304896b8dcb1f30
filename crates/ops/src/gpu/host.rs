//! Launches on the CPU, for tests: an emulator runs the kernels on tensors in main memory and counts their work.

use std::cell::Cell;
use std::sync::OnceLock;

use candle_core::{Result, bail};

use super::launch::Launch;

/// Function that runs a kernel, given its name, the dimension of its heads or 0, its geometry (grid, block, bytes of
/// shared memory) and its arguments (word, bytes pointed to). Returns the bytes read, the bytes written, and the
/// multiply-adds.
///
/// # Safety
/// Pointers must be valid for their bytes.
pub type Emulator =
    unsafe fn(&str, u32, [u32; 7], &[[u64; 2]]) -> std::result::Result<[u64; 3], String>;

static EMULATOR: OnceLock<Emulator> = OnceLock::new();

/// Work of the kernels and matrix products that one thread ran in the emulator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EmulatedWork {
    /// Kernels launched.
    pub launches: u64,
    /// Matrix products, which a GPU leaves to cuBLAS.
    pub products: u64,
    /// Bytes that kernels read from global memory, without regard to caches.
    pub read: u64,
    /// Bytes that kernels wrote to global memory.
    pub written: u64,
    /// Multiply-adds of tensor cores, in kernels and in products.
    pub multiply_adds: u64,
}

thread_local! {
    static WORK: Cell<EmulatedWork> = const { Cell::new(EmulatedWork {
        launches: 0,
        products: 0,
        read: 0,
        written: 0,
        multiply_adds: 0,
    }) };
}

/// Installs the emulator of [`Implementation::Emulated`](crate::Implementation::Emulated). Later calls have no effect.
pub fn install_emulator(emulator: Emulator) {
    EMULATOR.get_or_init(|| emulator);
}

/// Returns the emulated work of this thread since the last call.
pub fn emulated_work() -> EmulatedWork {
    WORK.take()
}

/// Counts a product of `multiply_adds`.
pub(super) fn count_product(multiply_adds: usize) {
    let mut work = WORK.get();
    work.products += 1;
    work.multiply_adds += multiply_adds as u64;
    WORK.set(work);
}

/// Runs a kernel.
///
/// # Safety
/// As [`Launch::run`].
pub(super) unsafe fn launch(launch: &Launch) -> Result<()> {
    let Some(emulator) = EMULATOR.get() else {
        bail!("no emulator is installed: the kernels of a GPU run on a CPU in tests only")
    };
    let [x, y, z] = launch.grid.map(|blocks| blocks as u32);
    let geometry = [x, y, z, launch.threads as u32, 1, 1, launch.shared as u32];
    let arguments: Vec<[u64; 2]> = launch
        .arguments
        .iter()
        .map(|argument| [argument.word, argument.bytes])
        .collect();
    let (name, head_dim) = (launch.kernel.name, launch.kernel.head_dim as u32);
    // SAFETY: the caller vouches for the arguments.
    match unsafe { emulator(name, head_dim, geometry, &arguments) } {
        Ok([read, written, multiply_adds]) => {
            let mut work = WORK.get();
            work.launches += 1;
            work.read += read;
            work.written += written;
            work.multiply_adds += multiply_adds;
            WORK.set(work);
            Ok(())
        }
        Err(reason) => bail!("{}: {reason}", launch.kernel.source.name),
    }
}
