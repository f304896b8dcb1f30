//! f32 microkernel: one tile of C, kept in registers over all of k.

use super::tile::{Rows, Target, Tile, store, sweep};
use crate::fused::simd::level::{Level, level};

/// Computes C = A·B for `m` rows and `n` columns. B is packed in panels as wide as a tile: for each step of k, panel
/// j holds its columns side by side, filled up with zeros.
///
/// # Safety
/// A has m × k elements, B has ⌈n / width⌉ panels of k × width, and C has m × n elements, laid out as described. C
/// overlaps neither A nor B.
pub(crate) unsafe fn multiply_packed(
    a: Rows,
    b: &[f32],
    c: Target,
    (m, k, n): (usize, usize, usize),
) {
    // SAFETY: promised by the caller; the level was found on this machine.
    unsafe {
        match level() {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => x86::multiply_avx512(a, b, c, (m, k, n)),
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => x86::multiply_avx2(a, b, c, (m, k, n)),
            Level::Portable => sweep::<Portable>(a, b, c, (m, k, n)),
        }
    }
}

struct Portable;

impl Tile for Portable {
    const ROWS: usize = 4;
    const COLUMNS: usize = 8;

    #[inline(always)]
    unsafe fn multiply<const R: usize>(a: Rows, b: *const f32, c: Target, k: usize) {
        let mut sums = [[0f32; 8]; R];
        for p in 0..k {
            // SAFETY: the caller's promise: p < k.
            let b = unsafe { &*b.add(p * 8).cast::<[f32; 8]>() };
            for (row, sums) in sums.iter_mut().enumerate() {
                // SAFETY: the caller's promise: row < R.
                let a = unsafe { *a.pointer.add(row * a.row_stride + p * a.step) };
                for (sum, b) in sums.iter_mut().zip(b) {
                    *sum += a * b;
                }
            }
        }
        // SAFETY: the caller's promise: C has R rows of 8 columns.
        unsafe { store(&sums, c) };
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use crate::fused::gemm::tile::{Rows, Target, sweep};
    use crate::fused::gemm::vector::{Avx2, Avx512, VectorTile};

    /// Runs the AVX2 kernel.
    ///
    /// # Safety
    /// Same contract as [`super::multiply_packed`], on a machine with AVX2 and FMA.
    #[target_feature(enable = "avx2,fma")]
    pub unsafe fn multiply_avx2(a: Rows, b: &[f32], c: Target, sizes: (usize, usize, usize)) {
        // SAFETY: promised by the caller.
        unsafe { sweep::<VectorTile<Avx2>>(a, b, c, sizes) }
    }

    /// Runs the AVX-512 kernel.
    ///
    /// # Safety
    /// Same contract as [`super::multiply_packed`], on a machine with AVX-512F.
    #[target_feature(enable = "avx512f,avx2,fma")]
    pub unsafe fn multiply_avx512(a: Rows, b: &[f32], c: Target, sizes: (usize, usize, usize)) {
        // SAFETY: promised by the caller.
        unsafe { sweep::<VectorTile<Avx512>>(a, b, c, sizes) }
    }
}
