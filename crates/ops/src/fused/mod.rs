//! Our own kernels for f32 tensors on the CPU, as Candle custom operations with their own backward pass.

mod buffer;
mod kernel;
mod lanes;
mod level;
mod linear;
mod pack;
mod product;
#[cfg(test)]
mod product_tests;
mod storage;

pub(crate) use linear::linear;
