//! Sums over rows, in one order for any number of threads.

use std::ops::Range;

use super::buffer::Shared;
use super::chunks::add;
use super::parallel::for_each;

/// Rows of a partial sum: fixed, so that the sum has one order.
const ROWS: usize = 64;

/// Adds to `sum` what `add_rows(rows, part)` adds to a part of the same length, which begins at zero, for a few rows of
/// `rows` at a time and in parallel. `work` is that of all rows, in multiplications.
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
        // SAFETY: each task has its own part.
        let part = unsafe { shared.slice(task * width, width) };
        add_rows(task * ROWS..rows.min((task + 1) * ROWS), part);
    });
    for part in parts.chunks_exact(width.max(1)) {
        add(part, sum);
    }
}
