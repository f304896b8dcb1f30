//! Sums over rows, in an order that does not depend on the number of threads.

use std::ops::Range;

use super::buffer::Shared;
use super::chunks::add;
use super::parallel::for_each;

/// Rows in a partial sum: a constant, so that the sum always has the same order.
const ROWS: usize = 64;

/// Adds to `sum` the partial sums of `rows` rows, computed in parallel. `add_rows(range, part)` adds a range of rows
/// to a zeroed buffer as long as `sum`. `work` is the cost of all rows, in multiplications.
pub(in crate::fused) fn sum_rows(
    rows: usize,
    work: usize,
    sum: &mut [f32],
    add_rows: impl Fn(Range<usize>, &mut [f32]) + Sync + Send,
) {
    let width = sum.len();
    let tasks = rows.div_ceil(ROWS);
    let mut parts = vec![0.0; tasks * width];
    let shared = Shared::new(&mut parts);
    for_each(tasks, work, |task| {
        // SAFETY: each task has its own partial sum.
        let part = unsafe { shared.slice(task * width, width) };
        add_rows(task * ROWS..rows.min((task + 1) * ROWS), part);
    });
    for part in parts.chunks_exact(width.max(1)) {
        add(part, sum);
    }
}
