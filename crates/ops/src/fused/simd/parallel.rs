//! Tasks on the threads of rayon's pool.

use rayon::prelude::*;

/// Multiplications below which one thread is faster than several.
const SERIAL_WORK: usize = 1 << 16;

/// Threads that compute a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Threads {
    All,
    /// Only the caller's, which runs one task of many.
    One,
}

/// Runs tasks on all threads if there is enough to do.
pub(crate) fn for_each(tasks: usize, work: usize, task: impl Fn(usize) + Sync + Send) {
    if tasks <= 1 || work < SERIAL_WORK {
        (0..tasks).for_each(task);
    } else {
        (0..tasks).into_par_iter().with_max_len(1).for_each(task);
    }
}
