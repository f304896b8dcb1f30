//! The length of all gradients together.

use candle_core::{DType, Result, Tensor};

/// √Σg² over all elements of all gradients.
///
/// # Errors
/// The device's own.
pub fn gradient_norm(gradients: &[&Tensor]) -> Result<f64> {
    let mut squares = Vec::with_capacity(gradients.len());
    for gradient in gradients {
        squares.push(gradient.to_dtype(DType::F32)?.sqr()?.sum_all()?);
    }
    if squares.is_empty() {
        return Ok(0.0);
    }
    // One read back to the host for all of them.
    let squares = Tensor::stack(&squares, 0)?.to_vec1::<f32>()?;
    Ok(squares.into_iter().map(f64::from).sum::<f64>().sqrt())
}
