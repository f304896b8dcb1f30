//! What this machine can do at best.

use std::time::{Duration, Instant};

use candle_core::{DType, Device, Tensor};
use polymath_model::Precision;

/// Of the product that is timed on a GPU.
const SIZE: usize = 4096;

/// The best rate that shows within `time`, in FLOP/s: of multiply-adds in the registers of a CPU's cores, as products in
/// this precision use them, or of one well-shaped f32 matrix product on a GPU.
pub fn measure(device: &Device, precision: Precision, time: Duration) -> candle_core::Result<f64> {
    if device.is_cpu() {
        return Ok(polymath_model::processor_peak_flops(precision, time));
    }
    let a = Tensor::ones((SIZE, SIZE), DType::F32, device)?;
    let b = Tensor::ones((SIZE, SIZE), DType::F32, device)?;
    let mut best = Duration::MAX;
    let begin = Instant::now();
    while begin.elapsed() < time {
        let start = Instant::now();
        let product = a.matmul(&b)?;
        // Reading one number back waits for the GPU to finish.
        product.get(0)?.get(0)?.to_scalar::<f32>()?;
        best = best.min(start.elapsed());
    }
    Ok(2.0 * (SIZE as f64).powi(3) / best.as_secs_f64())
}
