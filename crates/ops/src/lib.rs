//! Differentiable operations and the optimizer step: fused on CPU, composed from Candle elsewhere.
//!
//! [`Ops`] is what a model carries: it says how operations are computed, and each operation is a method of it. Both
//! implementations take and give Candle tensors, and both are differentiable by Candle's `backward`; the composed one
//! is the reference for the fused one in tests, and what runs on a GPU.
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

mod adamw;
mod blocks;
mod composed;
mod composed_distillation;
mod computed;
mod distillation;
mod finite;
mod fused;
mod gradient_norm;
mod memory;
mod moments;
mod muon;
mod operations;
mod precision;
mod pull;
mod recompute;
mod rotary;
mod round;
mod scores;
mod segments;
#[cfg(test)]
#[path = "../../../tests/skipped/mod.rs"]
mod skipped;
mod threads;
mod whole;

/// The best rate of multiply-adds that this machine's processor shows within `time`, in FLOP/s, on all threads: in f32, or
/// of products of bf16 where the machine has an instruction for them.
pub fn processor_peak_flops(precision: Precision, time: std::time::Duration) -> f64 {
    fused::peak_flops(precision, time)
}

pub use adamw::{AdamW, UpdateAt};
pub use blocks::{FeedForward, Placement, SelfAttention};
pub use distillation::{Comparison, HeldLoss, Teacher, TopK};
pub use finite::{all_finite, is_finite};
pub use gradient_norm::gradient_norm;
pub use memory::keep_freed_memory;
pub use moments::Moments;
pub use muon::{Muon, MuonUpdate};
pub use operations::{IGNORED, Implementation, Ops};
pub use precision::Precision;
pub use pull::Pull;
pub use recompute::recomputed;
pub use rotary::RotaryTable;
pub use scores::Scores;
pub use segments::Segments;
pub use threads::calm_candle;
