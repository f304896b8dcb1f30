//! What this machine can do at best: the rate of one well-shaped matrix product.

use std::time::{Duration, Instant};

use candle_core::{DType, Device, Tensor};

const SIZE: usize = 1024;

/// The best f32 rate of a 1024³ matrix product over a few tries, in FLOP/s. Takes about a third of a second.
pub fn measure(device: &Device) -> candle_core::Result<f64> {
    let a = Tensor::ones((SIZE, SIZE), DType::F32, device)?;
    let b = Tensor::ones((SIZE, SIZE), DType::F32, device)?;
    let mut best = Duration::MAX;
    let begin = Instant::now();
    // The first tries also wake the cores; the best one counts.
    while begin.elapsed() < Duration::from_millis(300) {
        let start = Instant::now();
        let product = a.matmul(&b)?;
        // Reading one number back waits for a GPU to finish.
        product.get(0)?.get(0)?.to_scalar::<f32>()?;
        best = best.min(start.elapsed());
    }
    Ok(2.0 * (SIZE as f64).powi(3) / best.as_secs_f64())
}
