//! End of a sublayer's backward pass: the norm and the residual.

use crate::fused::layers::rms_norm::input_gradient;
use crate::fused::simd::buffer::Shared;
use crate::fused::simd::chunks::add_in_place;

/// Computes the gradient of x for some rows through the norm and the residual: from the gradients of the norm's output
/// and of x + f(norm(x)).
pub(super) fn norm_residual_backward(
    [x, weight]: [&[f32]; 2],
    [dnormed, dy]: [&[f32]; 2],
    scales: &[f32],
    dx: &mut [f32],
) {
    input_gradient([x, weight, dnormed], scales, Shared::new(dx));
    add_in_place(dy, dx);
}
