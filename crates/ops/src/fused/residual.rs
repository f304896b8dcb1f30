//! The end of a half block's backward pass: through the norm, and past it.

use super::buffer::Shared;
use super::chunks::add_in_place;
use super::rms_norm::input_gradient;

/// The gradient of x for some rows, by way of the norm and past it: from that of the norm's output, and that of x + f(norm(x)).
pub(super) fn past_norm(
    [x, weight]: [&[f32]; 2],
    [dnormed, dy]: [&[f32]; 2],
    scales: &[f32],
    dx: &mut [f32],
) {
    input_gradient([x, weight, dnormed], scales, Shared::new(dx));
    add_in_place(dy, dx);
}
