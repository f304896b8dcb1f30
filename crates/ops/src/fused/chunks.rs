//! Arithmetic that takes each element by itself.

use std::ops::Range;

use super::buffer::{Shared, filled};
use super::level::vectorised;
use super::product::for_each;

/// Elements of a task.
const CHUNK: usize = 1 << 14;
/// Multiplications that an element is worth, with its exponential.
const EXPONENTIAL: usize = 16;
/// Multiplications that an element is worth which is only read and written.
const PASS: usize = 4;

vectorised! {
    /// to += from.
    pub(super) fn add(from: &[f32], to: &mut [f32]) {
        for (to, from) in to.iter_mut().zip(from) {
            *to += from;
        }
        let _ = FMA;
    }
}

/// Runs `work` over equal chunks of the inputs and of a new vector, all of which it writes.
pub(super) fn in_chunks<const N: usize>(
    inputs: [&[f32]; N],
    work: impl Fn([&[f32]; N], &mut [f32]) + Sync + Send,
) -> Vec<f32> {
    let fill = |y: &mut [f32]| {
        for_each_chunk(y, EXPONENTIAL, |at, y| {
            work(inputs.map(|input| &input[at.clone()]), y);
        });
    };
    // SAFETY: all chunks are written.
    unsafe { filled(inputs[0].len(), fill) }
}

/// to = from.
pub(super) fn copy(from: &[f32], to: &mut [f32]) {
    for_each_chunk(to, PASS, |at, to| to.copy_from_slice(&from[at]));
}

/// to = 0.
pub(super) fn clear(to: &mut [f32]) {
    for_each_chunk(to, PASS, |_, to| to.fill(0.0));
}

/// to += from.
pub(super) fn add_in_place(from: &[f32], to: &mut [f32]) {
    for_each_chunk(to, PASS, |at, to| add(&from[at], to));
}

/// Runs `work(where it lies, chunk)` over chunks of `values`; an element is worth `each` multiplications.
fn for_each_chunk(
    values: &mut [f32],
    each: usize,
    work: impl Fn(Range<usize>, &mut [f32]) + Sync + Send,
) {
    let length = values.len();
    let values = Shared::new(values);
    for_each(length.div_ceil(CHUNK), each * length, |task| {
        let start = task * CHUNK;
        let count = CHUNK.min(length - start);
        // SAFETY: chunks do not overlap.
        work(start..start + count, unsafe { values.slice(start, count) });
    });
}
