//! Rows that go through several steps of a half block as one task.

use super::product::{Threads, for_each};

/// Rows of a task: what lies between two products of them stays in the second cache.
const STRETCH: usize = 96;

/// Calls `work(first row, rows, threads of a product)` for stretches of rows side by side where there are enough of them
/// for all threads, and otherwise once.
pub(super) fn for_each_stretch(rows: usize, work: impl Fn(usize, usize, Threads) + Sync + Send) {
    if rows < 2 * STRETCH * rayon::current_num_threads() {
        return work(0, rows, Threads::All);
    }
    for_each(rows.div_ceil(STRETCH), usize::MAX, |task| {
        let start = task * STRETCH;
        work(start, STRETCH.min(rows - start), Threads::One);
    });
}
