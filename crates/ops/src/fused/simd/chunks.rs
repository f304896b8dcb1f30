//! Arithmetic that takes each element by itself.

use std::ops::Range;

use super::buffer::{Shared, filled};
use super::level::vectorized;
use super::parallel::for_each;

/// Elements of a task.
const CHUNK: usize = 1 << 14;
/// Multiplications that an element is worth, with its exponential.
const EXPONENTIAL: usize = 16;
/// Multiplications that an element is worth which is only read and written.
const PASS: usize = 4;

vectorized! {
    /// to += from.
    pub(in crate::fused) fn add(from: &[f32], to: &mut [f32]) {
        for (to, from) in to.iter_mut().zip(from) {
            *to += from;
        }
        let _ = FMA;
    }
}

/// Runs `work` over equal chunks of the inputs and of a new vector, all of which it writes.
pub(in crate::fused) fn in_chunks<const N: usize>(
    inputs: [&[f32]; N],
    work: impl Fn([&[f32]; N], &mut [f32]) + Sync + Send,
) -> Vec<f32> {
    let fill = |y: Shared| {
        for_each_range(y.len(), EXPONENTIAL, |at| {
            // SAFETY: chunks do not overlap.
            let y = unsafe { y.zeroed(at.start, at.len()) };
            work(inputs.map(|input| &input[at.clone()]), y);
        });
    };
    // SAFETY: all chunks are written.
    unsafe { filled(inputs[0].len(), fill) }
}

/// to = from, over what may be nothing yet.
pub(in crate::fused) fn write(from: &[f32], to: Shared) {
    assert_eq!(from.len(), to.len());
    for_each_range(from.len(), PASS, |at| {
        // SAFETY: chunks do not overlap.
        unsafe { to.write(at.start, &from[at]) };
    });
}

/// A vector of zeros.
pub(in crate::fused) fn zeros(length: usize) -> Vec<f32> {
    let fill = |to: Shared| {
        for_each_range(length, PASS, |at| {
            // SAFETY: chunks do not overlap.
            unsafe { to.zeroed(at.start, at.len()) };
        });
    };
    // SAFETY: all chunks are written.
    unsafe { filled(length, fill) }
}

/// to = 0.
pub(in crate::fused) fn clear(to: &mut [f32]) {
    for_each_chunk(to, PASS, |_, to| to.fill(0.0));
}

/// to += from.
pub(in crate::fused) fn add_in_place(from: &[f32], to: &mut [f32]) {
    for_each_chunk(to, PASS, |at, to| add(&from[at], to));
}

/// Runs `work(where it lies, chunk)` over chunks of `values`; an element is worth `each` multiplications.
fn for_each_chunk(
    values: &mut [f32],
    each: usize,
    work: impl Fn(Range<usize>, &mut [f32]) + Sync + Send,
) {
    let values = Shared::new(values);
    for_each_range(values.len(), each, |at| {
        // SAFETY: chunks do not overlap.
        let chunk = unsafe { values.slice(at.start, at.len()) };
        work(at, chunk);
    });
}

/// Runs `work` over the places of chunks of `length` values; an element is worth `each` multiplications.
fn for_each_range(length: usize, each: usize, work: impl Fn(Range<usize>) + Sync + Send) {
    for_each(length.div_ceil(CHUNK), each * length, |task| {
        let start = task * CHUNK;
        work(start..length.min(start + CHUNK));
    });
}
