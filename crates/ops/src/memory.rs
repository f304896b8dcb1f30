//! Allocator setting that keeps the memory that a training step frees.

use std::ffi::c_long;

use libmimalloc_sys::{mi_option_set, mi_option_t};

/// Number of mimalloc's option "purge delay": milliseconds after which free memory returns to the system, −1 for
/// never. The Rust bindings have no name for it. Both versions of mimalloc that they bundle use this number.
const PURGE_DELAY: mi_option_t = 15;

/// Makes mimalloc keep freed memory. Has no effect if mimalloc is not the program's allocator.
///
/// A training step allocates and frees the same large buffers. Two uses of a buffer are more than a tenth of a second
/// apart, after which mimalloc would return its memory to the system, which then clears every page again.
pub fn keep_freed_memory() {
    const NEVER: c_long = -1;
    // SAFETY: the option exists, and any integer is a valid value.
    unsafe { mi_option_set(PURGE_DELAY, NEVER) };
}
