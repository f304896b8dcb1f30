//! Our own kernels for f32 tensors on the CPU, as Candle custom operations with their own backward pass.

mod adamw;
#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(all(test, target_arch = "x86_64"))]
mod amx_emulated;
#[cfg(target_arch = "x86_64")]
mod amx_rows;
#[cfg(target_arch = "x86_64")]
mod amx_split;
#[cfg(all(test, target_arch = "x86_64"))]
mod amx_tests;
#[cfg(target_arch = "x86_64")]
mod amx_tiles;
mod attention;
mod attention_backward;
mod attention_forward;
#[cfg(test)]
mod attention_tests;
mod attention_tiles;
mod buffer;
mod chunks;
mod cross_entropy;
mod distillation;
mod embedding;
mod feed_forward;
mod format;
mod gelu;
mod half_block;
mod half_weights;
mod head_norm;
mod kernel;
mod lanes;
mod layer_norm;
mod level;
mod linear;
mod loss_gradients;
mod loss_rows;
mod muon;
mod pack;
mod pairs;
mod peak;
mod product;
#[cfg(test)]
mod product_tests;
mod pull;
mod residual;
mod rms_norm;
mod rope;
mod row_sums;
mod self_attention;
mod square_sum;
mod storage;
mod stretch;
mod swiglu;
#[cfg(target_arch = "x86_64")]
mod wide;

pub(crate) use adamw::{UpdateFactors, adamw};
pub(crate) use attention::attention;
pub(crate) use cross_entropy::{cross_entropy, cross_entropy_held, score};
pub(crate) use distillation::distillation;
pub(crate) use embedding::embedding;
pub(crate) use feed_forward::feed_forward;
pub(crate) use gelu::gelu;
pub(crate) use layer_norm::layer_norm;
pub(crate) use linear::linear;
pub(crate) use muon::{MuonFactors, muon};
pub(crate) use peak::peak_flops;
pub(crate) use pull::pull;
pub(crate) use rms_norm::rms_norm;
pub(crate) use rope::rope;
pub(crate) use self_attention::self_attention;
pub(crate) use square_sum::square_sum;
pub(crate) use swiglu::swiglu;
