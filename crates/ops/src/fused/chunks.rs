//! Arithmetic that takes each element by itself.

use super::buffer::{Shared, filled};
use super::product::for_each;

/// Elements of a task.
const CHUNK: usize = 1 << 14;
/// Multiplications that an element is worth, with its exponential.
const WORK: usize = 16;

/// Runs `work` over equal chunks of the inputs and of a new vector, all of which it writes.
pub(super) fn in_chunks<const N: usize>(
    inputs: [&[f32]; N],
    work: impl Fn([&[f32]; N], &mut [f32]) + Sync + Send,
) -> Vec<f32> {
    let length = inputs[0].len();
    let fill = |y: &mut [f32]| {
        let y = Shared::new(y);
        for_each(length.div_ceil(CHUNK), WORK * length, |task| {
            let start = task * CHUNK;
            let count = CHUNK.min(length - start);
            // SAFETY: chunks do not overlap.
            let y = unsafe { y.slice(start, count) };
            work(inputs.map(|input| &input[start..start + count]), y);
        });
    };
    // SAFETY: all chunks are written.
    unsafe { filled(length, fill) }
}
