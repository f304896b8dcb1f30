//! Norm of all gradients together.

use candle_core::{DType, Result, Tensor};

use crate::{Ops, fused, gpu};

/// Computes √Σg² over all elements of all gradients. On the CPU, the order of the sum does not depend on the number
/// of threads; on a GPU, one kernel launch reads all gradients.
///
/// # Errors
/// Fails if a tensor operation on the device fails.
pub fn gradient_norm(ops: Ops, gradients: &[&Tensor]) -> Result<f64> {
    let mut total = 0.0;
    let mut on_device = Vec::new();
    let mut for_kernels = Vec::new();
    for gradient in gradients {
        if ops.runs_kernels(&[gradient]) {
            for_kernels.push(gradient.detach().contiguous()?);
        } else if gradient.device().is_cpu() && gradient.dtype() == DType::F32 {
            total += fused::square_sum(gradient)?;
        } else {
            on_device.push(gradient.to_dtype(DType::F32)?.sqr()?.sum_all()?);
        }
    }
    if let Some(first) = for_kernels.first() {
        total += gpu::square_sum(first.device(), &for_kernels)?;
    }
    if !on_device.is_empty() {
        // The squares of all gradients are read back to the host in one transfer.
        let squares = Tensor::stack(&on_device, 0)?.to_vec1::<f32>()?;
        total += squares.into_iter().map(f64::from).sum::<f64>();
    }
    Ok(total.sqrt())
}
