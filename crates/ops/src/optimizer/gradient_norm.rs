//! Norm of all gradients together.

use candle_core::{DType, Result, Tensor};

use crate::fused;

/// Computes √Σg² over all elements of all gradients. On the CPU, the order of the sum does not depend on the number
/// of threads.
///
/// # Errors
/// Fails if a tensor operation on the device fails.
pub fn gradient_norm(gradients: &[&Tensor]) -> Result<f64> {
    let mut total = 0.0;
    let mut on_device = Vec::new();
    for gradient in gradients {
        if gradient.device().is_cpu() && gradient.dtype() == DType::F32 {
            total += fused::square_sum(gradient)?;
        } else {
            on_device.push(gradient.to_dtype(DType::F32)?.sqr()?.sum_all()?);
        }
    }
    if !on_device.is_empty() {
        // The squares of all gradients are read back to the host in one transfer.
        let squares = Tensor::stack(&on_device, 0)?.to_vec1::<f32>()?;
        total += squares.into_iter().map(f64::from).sum::<f64>();
    }
    Ok(total.sqrt())
}
