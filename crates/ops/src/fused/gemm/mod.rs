//! Matrix products (GEMM): packing, microkernels and the driver that cuts a product into tasks.
//!
//! Read from the inside out: `tile` describes the operands of a microkernel; `kernel` chooses the f32 microkernel and
//! `vector` implements it for AVX2 and AVX-512; `bf16_dot` and `amx` are the microkernels for bf16 pairs; `pack` copies
//! operands into panels; `format` ties a packed format to its microkernel; `driver` runs a product on all threads,
//! those of a few dozen rows as `narrow` does. `peak` measures the processor's best rate.

#[cfg(target_arch = "x86_64")]
pub(super) mod amx;
mod bf16_dot;
pub(super) mod driver;
pub(super) mod format;
mod kernel;
mod narrow;
mod pack;
mod peak;
#[cfg(test)]
pub(super) mod tests;
pub(super) mod tile;
#[cfg(target_arch = "x86_64")]
mod vector;

pub(crate) use self::format::{has_fast_bf16, packed_bytes};
pub(crate) use self::peak::peak_flops;
