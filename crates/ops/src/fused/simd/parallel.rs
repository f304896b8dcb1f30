//! Parallel tasks on the threads of rayon's pool.

use rayon::prelude::*;

/// Number of multiplications below which one thread is faster than several.
const SERIAL_WORK: usize = 1 << 16;

/// Threads that compute a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Threads {
    All,
    /// Only the calling thread, which runs one of many tasks.
    One,
}

impl Threads {
    /// Calls `task(index)` for `tasks` indices, on these threads as [`for_each`] does.
    pub fn for_each(self, tasks: usize, work: usize, task: impl Fn(usize) + Sync + Send) {
        match self {
            Self::All => for_each(tasks, work, task),
            Self::One => (0..tasks).for_each(task),
        }
    }
}

/// Calls `task(index)` for `tasks` indices, on all threads if `work` (multiplications in all) is large enough.
pub(crate) fn for_each(tasks: usize, work: usize, task: impl Fn(usize) + Sync + Send) {
    if tasks <= 1 || work < SERIAL_WORK {
        (0..tasks).for_each(task);
    } else {
        (0..tasks).into_par_iter().with_max_len(1).for_each(task);
    }
}
