//! The end of a half block's backward pass: through the norm, and past it.

use super::buffer::Shared;
use super::level::vectorised;
use super::product::for_each;
use super::rms_norm::{input_gradient, weight_gradient};

/// Elements of a task.
const CHUNK: usize = 1 << 14;

vectorised! {
    /// to += from.
    pub(super) fn add(from: &[f32], to: &mut [f32]) {
        for (to, from) in to.iter_mut().zip(from) {
            *to += from;
        }
        let _ = FMA;
    }
}

/// to += from.
pub(super) fn add_in_place(from: &[f32], to: &mut [f32]) {
    let length = from.len();
    let to = Shared::new(to);
    for_each(length.div_ceil(CHUNK), 4 * length, |task| {
        let start = task * CHUNK;
        let count = CHUNK.min(length - start);
        // SAFETY: chunks do not overlap.
        add(&from[start..start + count], unsafe {
            to.slice(start, count)
        });
    });
}

/// The gradient of x, and where asked for that of the norm's weight, which is added, from that of the norm's output.
pub(super) fn norm_backward(
    [x, weight, gradient]: [&[f32]; 3],
    scales: &[f32],
    dx: &mut [f32],
    dweight: Option<&mut [f32]>,
) {
    input_gradient([x, weight, gradient], scales, dx);
    if let Some(dweight) = dweight {
        weight_gradient([x, gradient], scales, dweight);
    }
}
