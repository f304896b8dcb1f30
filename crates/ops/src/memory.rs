//! Setting of the allocator for memory that a step frees.

use std::ffi::c_long;

use libmimalloc_sys::{mi_option_set, mi_option_t};

/// Option of mimalloc: milliseconds after which free memory returns to the system, −1 for never. The bindings have no
/// name for it; the number is the same in both versions of mimalloc that they carry.
const PURGE_DELAY: mi_option_t = 15;

/// Makes mimalloc keep freed memory. Without mimalloc as the program's allocator it changes nothing.
///
/// A step allocates and frees the same large buffers. More than a tenth of a second passes between two uses of one,
/// after which mimalloc would return it to the system, which clears every page again.
pub fn keep_freed_memory() {
    const NEVER: c_long = -1;
    // SAFETY: the option exists, and any whole number is a value of it.
    unsafe { mi_option_set(PURGE_DELAY, NEVER) };
}
