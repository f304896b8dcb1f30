//! The end of a half block's backward pass: through the norm, and past it.

use super::rms_norm::{input_gradient, weight_gradient};

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
