//! Runs the CUDA kernels of `polymath-ops` on the processor, for tests.
//!
//! A C++ compiler compiles the kernels in `crates/ops/kernels`, and `native/emulate.h` supplies the parts that are
//! built into CUDA: barriers, shuffles, asynchronous copies, and the products of tensor cores with the register layout
//! of `mma.sync`. The threads of a block are fibers that take turns in the order of a [`Schedule`], so that a kernel
//! with a missing barrier gives another result in some order. Shared memory begins as NaN.

use std::cell::Cell;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::sync::OnceLock;

/// Order in which the threads of a block take turns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// By their numbers.
    #[default]
    Forward,
    /// By their numbers, from the last; blocks as well.
    Backward,
    /// At random.
    Shuffled,
    /// One warp after the other, each as far as it can.
    Ahead,
    /// Same from the last warp; blocks as well.
    Behind,
}

/// Order of the threads, and when asynchronous copies are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Schedule {
    /// Order of the threads.
    pub order: Order,
    /// Makes asynchronous copies when they begin, not when they are awaited. A GPU may do either.
    pub eager: bool,
}

impl Schedule {
    /// Returns all schedules.
    pub fn all() -> Vec<Schedule> {
        let orders = [
            Order::Forward,
            Order::Backward,
            Order::Shuffled,
            Order::Ahead,
            Order::Behind,
        ];
        let both = |order| [false, true].map(|eager| Schedule { order, eager });
        orders.into_iter().flat_map(both).collect()
    }
}

thread_local! {
    static SCHEDULE: Cell<Schedule> = const { Cell::new(Schedule { order: Order::Forward, eager: false }) };
}

/// Sets the schedule of the launches that this thread makes.
pub fn set_schedule(schedule: Schedule) {
    SCHEDULE.set(schedule);
}

#[repr(C)]
#[derive(Default)]
struct Counts {
    read: u64,
    written: u64,
    multiply_adds: u64,
}

#[repr(C)]
struct Request {
    kernel: *const c_char,
    head_dim: c_int,
    grid: [u32; 3],
    block: [u32; 3],
    shared: u32,
    order: u32,
    eager: u32,
    seed: u32,
    arguments: *const [u64; 2],
    argument_count: u32,
    moved_count: u32,
    only: u64,
    moved: *mut [u64; 2],
}

type Emulate = unsafe extern "C" fn(*const Request, *mut Counts, *mut c_char, usize) -> c_int;

unsafe extern "C" {
    fn polymath_emulate(
        request: *const Request,
        counts: *mut Counts,
        reason: *mut c_char,
        length: usize,
    ) -> c_int;

    fn dlopen(path: *const c_char, flags: c_int) -> *mut c_void;
    fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
}

/// Returns the function that runs kernels: that of the library named by `POLYMATH_KERNELS`, if it is set, so that
/// `scripts/check/mutate-kernels.py` can run one test program with many versions of the kernels.
fn emulate_function() -> Emulate {
    static FUNCTION: OnceLock<Emulate> = OnceLock::new();
    const NOW: c_int = 2;
    *FUNCTION.get_or_init(|| {
        let Some(path) = std::env::var_os("POLYMATH_KERNELS") else {
            return polymath_emulate;
        };
        let name = CString::new(path.as_encoded_bytes()).expect("a path without zeros");
        // SAFETY: the library is one of this crate's native code, whose function has this type.
        unsafe {
            let library = dlopen(name.as_ptr(), NOW);
            assert!(
                !library.is_null(),
                "`POLYMATH_KERNELS`: {path:?} can't be opened"
            );
            let function = dlsym(library, c"polymath_emulate".as_ptr());
            assert!(
                !function.is_null(),
                "`POLYMATH_KERNELS`: {path:?} runs no kernels"
            );
            std::mem::transmute::<*mut c_void, Emulate>(function)
        }
    })
}

/// Runs a kernel and returns the bytes read from and written to global memory, and the multiply-adds.
///
/// `geometry` is the dimension of the heads for which the kernel is compiled, or 0 for a kernel without heads, then the
/// grid, the block (three numbers each) and the bytes of shared memory. An argument is a word with the value in its
/// lower bytes, and the number of bytes that it points to if it is a pointer. With `block`, only this block of the grid
/// runs, counted along its first dimension first.
///
/// `moved` is empty, or it has room for the bytes read and written through each argument and, at its end, through the
/// pointers that lie in memory. There, a sector of 32 bytes counts once for each block that touches it, as if a block
/// kept in its cache all that it touches.
///
/// # Errors
/// Fails if there is no such kernel, if it takes another number of arguments, at a barrier that not all threads reach,
/// and at an address that is not aligned or lies outside of an argument's memory.
///
/// # Panics
/// Panics if `moved` has neither no place nor one for each argument and one more.
///
/// # Safety
/// Arguments that are pointers must be valid for their bytes, and so must be pointers that lie in this memory.
pub unsafe fn emulate(
    kernel: &str,
    geometry: [u32; 8],
    arguments: &[[u64; 2]],
    block: Option<u64>,
    moved: &mut [[u64; 2]],
) -> Result<[u64; 3], String> {
    assert!(moved.is_empty() || moved.len() == arguments.len() + 1);
    let name = CString::new(kernel).map_err(|error| error.to_string())?;
    let schedule = SCHEDULE.get();
    let [head_dim, x, y, z, width, height, depth, shared] = geometry;
    let request = Request {
        kernel: name.as_ptr(),
        head_dim: head_dim as c_int,
        grid: [x, y, z],
        block: [width, height, depth],
        shared,
        order: schedule.order as u32,
        eager: u32::from(schedule.eager),
        seed: 7,
        arguments: arguments.as_ptr(),
        argument_count: arguments.len() as u32,
        moved_count: moved.len() as u32,
        only: block.unwrap_or(u64::MAX),
        moved: match moved.is_empty() {
            true => std::ptr::null_mut(),
            false => moved.as_mut_ptr(),
        },
    };
    let mut counts = Counts::default();
    let mut reason = [0 as c_char; 256];
    // SAFETY: the request's pointers live as long as the call; the caller vouches for the arguments.
    let failed =
        unsafe { emulate_function()(&request, &mut counts, reason.as_mut_ptr(), reason.len()) };
    if failed == 0 {
        return Ok([counts.read, counts.written, counts.multiply_adds]);
    }
    // SAFETY: the callee ends the text with a zero within the buffer.
    let reason = unsafe { CStr::from_ptr(reason.as_ptr()) };
    let of_heads = match head_dim {
        0 => String::new(),
        head_dim => format!(" for heads of {head_dim}"),
    };
    Err(format!("{kernel}{of_heads}: {}", reason.to_string_lossy()))
}
