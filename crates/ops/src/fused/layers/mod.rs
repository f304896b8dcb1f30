//! Layers of a transformer, one Candle operation in each file, with its backward pass.
//!
//! Read `swiglu` or `gelu` first (elementwise), then `rms_norm` (rows, a weight gradient) and `linear` (matrix
//! products).

mod embedding;
mod gelu;
mod layer_norm;
mod linear;
pub(super) mod rms_norm;
pub(super) mod rope;
pub(super) mod swiglu;

pub(crate) use self::embedding::embedding;
pub(crate) use self::gelu::gelu;
pub(crate) use self::layer_norm::layer_norm;
pub(crate) use self::linear::linear;
pub(crate) use self::rms_norm::rms_norm;
pub(crate) use self::rope::rope;
pub(crate) use self::swiglu::swiglu;
