//! CPU kernels for f32 tensors, as Candle custom operations with their own backward passes.
//!
//! Read `simd` first: all kernels use its arithmetic, buffers and tasks. `gemm` multiplies matrices. `layers`,
//! `attention` and `loss` hold one operation in each file; `block` fuses them into the two sublayers of a transformer
//! block. `optimizer` updates parameters.

mod attention;
mod block;
mod gemm;
mod layers;
mod loss;
mod optimizer;
mod saved;
mod simd;

pub(crate) use self::attention::attention;
pub(crate) use self::block::{FEED_FORWARD_ROWS, feed_forward, self_attention};
pub(crate) use self::gemm::{has_fast_bf16, packed_bytes, peak_flops};
pub(crate) use self::layers::{embedding, gelu, layer_norm, linear, rms_norm, rope, swiglu};
pub(crate) use self::loss::{
    LOGIT_ROWS, cross_entropy, cross_entropy_distilled, distillation, score,
};
pub(crate) use self::optimizer::{MuonFactors, UpdateFactors, adamw, muon, pull, square_sum};
