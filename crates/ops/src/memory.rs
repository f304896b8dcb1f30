//! What the allocator does with memory that a step gives back.

use std::ffi::c_long;

use libmimalloc_sys::{mi_option_set, mi_option_t};

/// Milliseconds after which free memory goes back to the system, or −1 for never. The bindings have no name for it; the
/// number is the same in both versions of mimalloc that they carry.
const PURGE_DELAY: mi_option_t = 15;

/// Has mimalloc keep what is freed, where a program has it for its allocator; elsewhere it changes nothing.
///
/// A step takes and gives back the same large buffers. Between two uses of one pass more than the tenth of a second
/// after which mimalloc gives it back to the system, which then has every page cleared again.
pub fn keep_freed_memory() {
    const NEVER: c_long = -1;
    // SAFETY: the option exists, and any whole number is a value of it.
    unsafe { mi_option_set(PURGE_DELAY, NEVER) };
}
