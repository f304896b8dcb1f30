//! Measurement of this machine's peak rate.

use std::time::{Duration, Instant};

use candle_core::{DType, Device, Tensor};
use polymath_model::Precision;

/// Rows and columns of the matrices whose product is timed on a GPU.
const SIZE: usize = 8192;

/// Measures the machine's peak rate for at most about `time`, in FLOP/s: of multiply-adds in registers on a CPU, as
/// products in this precision use them, or of a large square matrix product on a GPU.
pub fn measure(device: &Device, precision: Precision, time: Duration) -> candle_core::Result<f64> {
    if device.is_cpu() {
        return Ok(polymath_model::processor_peak_flops(precision, time));
    }
    let dtype = match precision {
        Precision::F32 | Precision::Tf32 => DType::F32,
        Precision::Bf16 => DType::BF16,
    };
    // Uses random numbers: constant ones would draw less power, so that the clock would be higher than with a model.
    let a = Tensor::randn(0f32, 1.0, (SIZE, SIZE), device)?.to_dtype(dtype)?;
    let b = Tensor::randn(0f32, 1.0, (SIZE, SIZE), device)?.to_dtype(dtype)?;
    let mut best = Duration::MAX;
    let begin = Instant::now();
    while begin.elapsed() < time {
        device.synchronize()?;
        let start = Instant::now();
        a.matmul(&b)?;
        device.synchronize()?;
        best = best.min(start.elapsed());
    }
    Ok(2.0 * (SIZE as f64).powi(3) / best.as_secs_f64())
}
