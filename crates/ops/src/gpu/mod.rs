//! GPU operations: own CUDA kernels for f32 tensors, with bf16 factors of products at that precision.
//!
//! The kernels are in `crates/ops/kernels`. On a GPU, NVRTC compiles them at run time (`cuda`). In tests, the code of
//! this module runs the same kernels in an emulator on the CPU (`host`). No kernel uses atomics, so that a step has the
//! same bits in every run. Operations without a kernel are compositions of Candle's operations with hand-written
//! backward passes (`composed`); the tests run them on the CPU.

mod activation;
mod adapter;
mod attention;
mod composed;
mod composed_attention;
mod composed_loss;
mod counts;
#[cfg(feature = "cuda")]
mod cuda;
mod embedding;
mod flash;
mod gates;
mod graph;
mod host;
mod launch;
mod loss;
mod memory;
mod norm;
mod optimizer;
mod product;
mod rope;
mod run;
mod sample;
mod source;
mod sublayers;
mod work;

#[cfg(test)]
mod composed_tests;
#[cfg(all(test, unix))]
mod tests;

pub(crate) use activation::{gelu, swiglu};
pub(crate) use adapter::{dropout, merged_norms};
pub(crate) use attention::attention;
pub(crate) use composed_attention::attention as composed_attention;
pub(crate) use composed_loss::cross_entropy as composed_cross_entropy;
pub(crate) use embedding::{embedding, ids_on};
pub(crate) use flash::attends;
pub(crate) use loss::{cross_entropy, distillation, score};
pub(crate) use memory::upload;
pub(crate) use norm::{layer_norm, rms_norm};
pub(crate) use optimizer::{AdamwTensors, adamw, apply, momentum, polynomial, square_sum};
pub(crate) use product::linear;
pub(crate) use rope::rope;
pub(crate) use sublayers::{feed_forward, self_attention, takes_attention};

pub use counts::{EmulatedWork, Emulator, KernelCount, Sampling, Unit};
pub use host::install_emulator;
pub use work::{counted, emulated_work};
