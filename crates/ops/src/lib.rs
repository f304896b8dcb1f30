//! Differentiable operations and the optimizer step: own kernels on the CPU and on CUDA devices.
//!
//! A model holds an [`Ops`], which chooses the implementation and whose methods are the operations. All
//! implementations take and return Candle tensors, and Candle's `backward` differentiates them. `fused` holds the CPU
//! kernels, `gpu` launches the CUDA kernels in `crates/ops/kernels`, and `reference` holds the compositions of Candle's
//! operations that tests compare with. Read `implementation`, `operations` and `blocks` first.
//!
//! ```
//! use candle_core::{Device, Var};
//! use polymath_ops::{Ops, Precision};
//!
//! let ops = Ops::fused(Precision::F32);
//! let x = Var::new(&[[3f32, 4.0]], &Device::Cpu)?;
//! let weight = Var::new(&[1f32, 1.0], &Device::Cpu)?;
//! let y = ops.rms_norm(&x, &weight, 0.0)?; // x / √12.5
//! assert!((y.sum_all()?.to_scalar::<f32>()? - 7.0 / 12.5f32.sqrt()).abs() < 1e-6);
//! assert!(y.sum_all()?.backward()?.get(&weight).is_some());
//! # Ok::<(), candle_core::Error>(())
//! ```

mod adapter;
mod block_weights;
mod blocks;
mod computed;
mod cuda_device;
mod distillation;
mod finite;
mod fused;
mod gate;
mod gpu;
mod implementation;
mod memory;
mod operations;
mod optimizer;
mod precision;
mod recompute;
mod reference;
mod rotary;
mod round;
mod scores;
mod segments;
#[cfg(test)]
mod skipped;
mod targets;
mod teacher;
mod threads;

/// Number of rows whose logits the losses on the CPU have in memory at a time.
pub const LOGIT_ROWS: usize = fused::LOGIT_ROWS;

/// Number of rows that the backward pass of the feed-forward sublayer on the CPU computes at a time.
pub const FEED_FORWARD_ROWS: usize = fused::FEED_FORWARD_ROWS;

/// Measures the processor's peak rate of multiply-adds, in FLOP/s of all threads together: in f32, or in bf16 if the
/// machine has an instruction for it. Takes about `time`.
pub fn processor_peak_flops(precision: Precision, time: std::time::Duration) -> f64 {
    fused::peak_flops(precision, time)
}

/// Returns true if the processor has an instruction for products in bf16 that makes them faster than in f32.
pub fn has_fast_bf16() -> bool {
    fused::has_fast_bf16()
}

/// Returns the bytes that a number takes in the packed operands of a product on this processor.
pub fn packed_bytes(precision: Precision) -> usize {
    fused::packed_bytes(precision)
}

pub use adapter::{Dropout, LowRank, Projection, merged_weight, row_norms};
pub use block_weights::{FeedForward, Placement, SelfAttention};
pub use cuda_device::{DeviceMemory, cuda_device, device_memory};
pub use finite::{all_finite, is_finite};
pub use gpu::{
    EmulatedWork, Emulator, KernelCount, Sampling, Unit, counted, emulated_work, install_emulator,
};
pub use implementation::{Implementation, Ops};
pub use memory::keep_freed_memory;
pub use optimizer::{
    AdamW, AdamWUpdate, MomentValues, Moments, Muon, MuonUpdate, Pull, UpdateAt, gradient_norm,
};
pub use precision::Precision;
pub use recompute::recomputed;
pub use rotary::RotaryTable;
pub use scores::Scores;
pub use segments::Segments;
pub use targets::IGNORED;
pub use teacher::{Comparison, DistilledLoss, Teacher, TopK};
pub use threads::quiet_candle_threads;
