//! Elementwise arithmetic on slices, in parallel chunks.

use std::ops::Range;

use super::buffer::{Shared, filled};
use super::level::vectorized;
use super::parallel::for_each;

/// Number of elements that one parallel task processes.
pub(super) const CHUNK: usize = 1 << 14;
/// Cost of an element whose exponential is computed, in multiplications.
const EXPONENTIAL: usize = 16;
/// Cost of an element that is only read and written, in multiplications.
const PASS: usize = 4;

vectorized! {
    /// Computes to += from.
    pub(in crate::fused) fn add(from: &[f32], to: &mut [f32]) {
        for (to, from) in to.iter_mut().zip(from) {
            *to += from;
        }
        let _ = FMA;
    }
}

/// Runs `work` on corresponding chunks of the inputs and of a new vector, which `work` writes in full. Returns the
/// vector.
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
    // SAFETY: the tasks write all chunks.
    unsafe { filled(inputs[0].len(), fill) }
}

/// Copies `from` into `to`, which may be uninitialized.
pub(in crate::fused) fn write(from: &[f32], to: Shared) {
    assert_eq!(from.len(), to.len());
    for_each_range(from.len(), PASS, |at| {
        // SAFETY: chunks do not overlap.
        unsafe { to.write(at.start, &from[at]) };
    });
}

/// Returns a vector of zeros, written by all threads.
pub(in crate::fused) fn zeros(length: usize) -> Vec<f32> {
    let fill = |to: Shared| {
        for_each_range(length, PASS, |at| {
            // SAFETY: chunks do not overlap.
            unsafe { to.zeroed(at.start, at.len()) };
        });
    };
    // SAFETY: the tasks write all chunks.
    unsafe { filled(length, fill) }
}

/// Sets all elements to 0.
pub(in crate::fused) fn clear(to: &mut [f32]) {
    for_each_chunk(to, PASS, |_, to| to.fill(0.0));
}

/// Computes to += from on all threads.
pub(in crate::fused) fn add_in_place(from: &[f32], to: &mut [f32]) {
    for_each_chunk(to, PASS, |at, to| add(&from[at], to));
}

/// Runs `work(its range, chunk)` on chunks of `values`. `each` is the cost of an element, in multiplications.
pub(super) fn for_each_chunk(
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

/// Runs `work` on consecutive ranges that cover `0..length`. `each` is the cost of an element, in multiplications.
pub(super) fn for_each_range(
    length: usize,
    each: usize,
    work: impl Fn(Range<usize>) + Sync + Send,
) {
    for_each(length.div_ceil(CHUNK), each * length, |task| {
        let start = task * CHUNK;
        work(start..length.min(start + CHUNK));
    });
}
