//! Launches and products on the CPU, for tests and for counting: an emulator runs the kernels on main memory.

use std::sync::OnceLock;

use candle_core::{D, DType, Result, Tensor, bail};

use super::counts::{Emulator, Unit, Work};
use super::launch::Launch;
use super::memory::Target;
use super::sample;
use super::work::{self, is_counting};

static EMULATOR: OnceLock<Emulator> = OnceLock::new();

/// Installs the emulator of [`Implementation::Emulated`](crate::Implementation::Emulated). Later calls have no effect.
pub fn install_emulator(emulator: Emulator) {
    EMULATOR.get_or_init(|| emulator);
}

/// Runs a kernel.
///
/// # Safety
/// As [`Launch::run`].
pub(super) unsafe fn launch(launch: &Launch) -> Result<()> {
    let Some(emulator) = EMULATOR.get() else {
        bail!("no emulator is installed: the kernels of a GPU run on a CPU in tests only")
    };
    // SAFETY: the caller vouches for the arguments.
    let found = unsafe {
        match work::sampling() {
            Some(sampling) => sample::measure(launch, *emulator, sampling)?,
            None => run(launch, *emulator)?,
        }
    };
    work::add_kernel(launch.kernel.name, launch.kernel.unit(), found);
    Ok(())
}

/// Runs all blocks of a kernel.
///
/// # Safety
/// As [`Launch::run`].
unsafe fn run(launch: &Launch, emulator: Emulator) -> Result<Work> {
    // SAFETY: the caller vouches for the arguments.
    let [read, written, multiply_adds] = unsafe { emulate(launch, emulator, None, &mut [])? };
    Ok(Work {
        launches: 1,
        read,
        written,
        moved: 0,
        multiply_adds,
    })
}

/// Runs one block of a launch, or all, with the emulator: its last arguments and its result are those of [`Emulator`].
///
/// # Safety
/// As [`Launch::run`].
pub(super) unsafe fn emulate(
    launch: &Launch,
    emulator: Emulator,
    block: Option<u64>,
    moved: &mut [[u64; 2]],
) -> Result<[u64; 3]> {
    let (geometry, arguments) = (launch.geometry(), launch.words());
    // SAFETY: the caller vouches for the arguments.
    match unsafe { emulator(launch.kernel.name, geometry, &arguments, block, moved) } {
        Ok(work) => Ok(work),
        Err(reason) => bail!("{}: {reason}", launch.kernel.source.name),
    }
}

/// Computes a·b as cuBLAS does: (.., m, k), (.., k, n), (.., m, n). Counts it, and computes nothing while work is
/// counted.
///
/// # Safety
/// The target must be memory of as many numbers as the product has, to which no reference exists.
pub(super) unsafe fn multiply([a, b]: [&Tensor; 2], to: Target, unit: Unit) -> Result<()> {
    let (rank, n) = (a.rank(), b.dim(D::Minus1)?);
    let (m, k) = (a.dims()[rank - 2], a.dims()[rank - 1]);
    let batch = a.dims()[..rank - 2].iter().product();
    work::add_product([batch, m, k, n], [a.dtype(), to.dtype], unit, to.adds);
    if is_counting() {
        return Ok(());
    }
    let product = a.to_dtype(DType::F32)?.matmul(&b.to_dtype(DType::F32)?)?;
    let product = product.flatten_all()?.to_vec1::<f32>()?;
    if to.dtype == DType::BF16 {
        // SAFETY: the caller vouches for the memory.
        let place = unsafe { place_of::<half::bf16>(to, product.len()) };
        for (place, product) in place.iter_mut().zip(product) {
            *place = half::bf16::from_f32(product);
        }
        return Ok(());
    }
    // SAFETY: the caller vouches for the memory.
    let place = unsafe { place_of::<f32>(to, product.len()) };
    for (place, product) in place.iter_mut().zip(product) {
        *place = if to.adds { *place + product } else { product };
    }
    Ok(())
}

/// Returns the memory of a target as numbers.
///
/// # Safety
/// As [`multiply`]; the numbers must be of the target's type.
unsafe fn place_of<'a, T>(to: Target, count: usize) -> &'a mut [T] {
    // SAFETY: the caller vouches for the memory.
    unsafe { std::slice::from_raw_parts_mut(to.place.address as *mut T, count) }
}
