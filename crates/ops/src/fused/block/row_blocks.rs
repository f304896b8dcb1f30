//! Blocks of rows that go through several steps of a sublayer as one task.

use crate::fused::simd::parallel::{Threads, for_each};

/// Rows of a task: values between two of its products stay in the L2 cache.
const BLOCK_ROWS_OF_TASK: usize = 96;

/// Calls `work(first row, rows, threads of a product)` for blocks of rows in parallel if there are enough for all
/// threads, and once for all rows otherwise.
pub(super) fn for_each_row_block(rows: usize, work: impl Fn(usize, usize, Threads) + Sync + Send) {
    if rows < 2 * BLOCK_ROWS_OF_TASK * rayon::current_num_threads() {
        return work(0, rows, Threads::All);
    }
    for_each(rows.div_ceil(BLOCK_ROWS_OF_TASK), usize::MAX, |task| {
        let start = task * BLOCK_ROWS_OF_TASK;
        work(start, BLOCK_ROWS_OF_TASK.min(rows - start), Threads::One);
    });
}
