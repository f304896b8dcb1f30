//! Microkernel on the bf16 dot product. Two consecutive steps of k, rounded to bf16, form a pair in the 32 bits of
//! one f32.
//!
//! The lower half of a pair holds the even step and the upper half the odd one, as `vdpbf16ps` reads them. With an
//! odd number of steps, the last pair has a zero. Packed this way, a product over k steps has the layout of one over
//! ⌈k / 2⌉ steps.

use super::pack::{for_each_piece, interleave};
use super::tile::{Rows, Target, Tile, store, sweep, tile_shape};
use crate::fused::simd::buffer::with_buffer;
use crate::fused::simd::level::{Level, has_bf16_dot, level, vectorized};
use crate::fused::simd::math::round_to_bf16;
use crate::fused::simd::matrix::Matrix;

/// Returns the number of pairs that hold `steps` steps.
fn places(steps: usize) -> usize {
    steps.div_ceil(2)
}

/// Rounds two numbers to bf16 and packs them into the 32 bits of one f32.
#[inline(always)]
fn pair(even: f32, odd: f32) -> f32 {
    f32::from_bits(round_to_bf16(even).to_bits() >> 16 | round_to_bf16(odd).to_bits())
}

/// Unpacks a pair into its even and its odd number.
#[inline(always)]
fn unpair(place: f32) -> (f32, f32) {
    let bits = place.to_bits();
    (
        f32::from_bits(bits << 16),
        f32::from_bits(bits & 0xffff_0000),
    )
}

vectorized! {
    /// Packs a block with contiguous rows, joining the steps 2p and 2p + 1 of each column: (steps, columns) → (pairs,
    /// `width`).
    fn pack_bf16_block(data: &[f32], row_stride: usize, sizes: (usize, usize), width: usize, packed: &mut [f32]) {
        let (steps, columns) = sizes;
        match columns {
            12 => pack_bf16_steps::<12>(data, row_stride, steps, width, packed),
            32 => pack_bf16_steps::<32>(data, row_stride, steps, width, packed),
            64 => pack_bf16_steps::<64>(data, row_stride, steps, width, packed),
            _ => {
                for (place, to) in packed.chunks_exact_mut(width).enumerate() {
                    let even = &data[2 * place * row_stride..][..columns];
                    if 2 * place + 1 < steps {
                        let odd = &data[(2 * place + 1) * row_stride..][..columns];
                        for ((even, odd), to) in even.iter().zip(odd).zip(to) {
                            *to = pair(*even, *odd);
                        }
                    } else {
                        for (even, to) in even.iter().zip(to) {
                            *to = pair(*even, 0.0);
                        }
                    }
                }
            }
        }
        let _ = FMA;
    }

    /// Packs a row, joining the neighbors 2p and 2p + 1.
    pub(super) fn pack_bf16_row(from: &[f32], to: &mut [f32]) {
        let (pairs, rest) = from.as_chunks::<2>();
        for (from, to) in pairs.iter().zip(&mut *to) {
            *to = pair(from[0], from[1]);
        }
        if let ([last], Some(to)) = (rest, to.last_mut()) {
            *to = pair(*last, 0.0);
        }
        let _ = FMA;
    }
}

/// Packs B (k × n) into panels of `width` columns, in the order panel, pair, column. `packed` has ⌈n / width⌉·⌈k /
/// 2⌉·width floats.
pub(crate) fn pack_bf16_panels(b: Matrix, width: usize, packed: &mut [f32]) {
    let places = places(b.rows);
    if b.column_stride == 1 {
        for_each_piece(b, width, 2, packed, |block, packed| {
            let sizes = (block.rows, block.columns);
            pack_bf16_block(block.data, block.row_stride, sizes, width, packed);
        });
        return;
    }
    with_buffer(places * width, |columns_of_places| {
        for (panel, packed) in packed.chunks_exact_mut((places * width).max(1)).enumerate() {
            let columns = width.min(b.columns - panel * width);
            let block = b.block((0, b.rows), (panel * width, columns));
            let paired = &mut columns_of_places[..places * columns];
            for (column, paired) in paired.chunks_exact_mut(places).enumerate() {
                pack_bf16_column(block, column, paired);
            }
            let paired = Matrix::new(paired, columns, places).transposed();
            interleave(paired, width, packed);
        }
    });
}

/// Packs one column, joining the steps 2p and 2p + 1.
fn pack_bf16_column(block: Matrix, column: usize, paired: &mut [f32]) {
    let data = &block.data[column * block.column_stride..];
    if block.row_stride == 1 {
        return pack_bf16_row(&data[..block.rows], paired);
    }
    for (place, to) in paired.iter_mut().enumerate() {
        let odd = data.get((2 * place + 1) * block.row_stride);
        let odd = odd.filter(|_| 2 * place + 1 < block.rows);
        *to = pair(
            data[2 * place * block.row_stride],
            odd.copied().unwrap_or(0.0),
        );
    }
}

/// Packs rows of `W` columns, joining the steps 2p and 2p + 1 of each column.
#[inline(always)]
fn pack_bf16_steps<const W: usize>(
    data: &[f32],
    row_stride: usize,
    steps: usize,
    width: usize,
    packed: &mut [f32],
) {
    for (place, to) in packed.chunks_exact_mut(width).enumerate() {
        let even = data[2 * place * row_stride..].first_chunk::<W>();
        let odd = if 2 * place + 1 < steps {
            data[(2 * place + 1) * row_stride..].first_chunk::<W>()
        } else {
            Some(&[0f32; W])
        };
        if let (Some(even), Some(odd), Some(to)) = (even, odd, to.first_chunk_mut::<W>()) {
            for column in 0..W {
                to[column] = pair(even[column], odd[column]);
            }
        }
    }
}

/// Computes C = A·B for `m` rows, `n` columns and `places` bf16 pairs of k, laid out as for
/// [`multiply_packed`](super::kernel::multiply_packed).
///
/// # Safety
/// Same contract as `multiply_packed`, with `places` for k.
pub(crate) unsafe fn multiply_bf16_pairs(
    a: Rows,
    b: &[f32],
    c: Target,
    (m, places, n): (usize, usize, usize),
) {
    let sizes = (m, places, n);
    // SAFETY: promised by the caller; the instructions were found on this machine.
    unsafe {
        match level() {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 if has_bf16_dot() => x86::multiply(a, b, c, sizes),
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => sweep::<Widened<12, 32>>(a, b, c, sizes),
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => sweep::<Widened<6, 16>>(a, b, c, sizes),
            Level::Portable => sweep::<Widened<4, 8>>(a, b, c, sizes),
        }
    }
}

/// Portable microkernel that converts the pairs to f32, for machines without the instruction.
struct Widened<const HEIGHT: usize, const WIDTH: usize>;

impl<const HEIGHT: usize, const WIDTH: usize> Tile for Widened<HEIGHT, WIDTH> {
    const ROWS: usize = HEIGHT;
    const COLUMNS: usize = WIDTH;

    #[inline(always)]
    unsafe fn multiply<const R: usize>(a: Rows, b: *const f32, c: Target, places: usize) {
        debug_assert_eq!(tile_shape(), (HEIGHT, WIDTH));
        let mut sums = [[0f32; WIDTH]; R];
        for p in 0..places {
            // SAFETY: the caller's promise: p < places.
            let b = unsafe { &*b.add(p * WIDTH).cast::<[f32; WIDTH]>() };
            for (row, sums) in sums.iter_mut().enumerate() {
                // SAFETY: the caller's promise: row < R.
                let a = unpair(unsafe { *a.pointer.add(row * a.row_stride + p * a.step) });
                for (sum, b) in sums.iter_mut().zip(b) {
                    let b = unpair(*b);
                    *sum = (*sum + a.0 * b.0) + a.1 * b.1;
                }
            }
        }
        // SAFETY: the caller's promise: C has R rows of WIDTH columns.
        unsafe { store(&sums, c) };
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use crate::fused::gemm::tile::{Rows, Target, sweep};
    use crate::fused::gemm::vector::{Avx512, VectorIsa, VectorTile};
    use std::arch::x86_64::*;

    /// Runs the kernel for the bf16 dot product instruction.
    ///
    /// # Safety
    /// Same contract as [`super::multiply_bf16_pairs`], on a machine with AVX-512F and AVX-512-BF16.
    #[target_feature(enable = "avx512f,avx512bf16,avx2,fma")]
    pub unsafe fn multiply(a: Rows, b: &[f32], c: Target, sizes: (usize, usize, usize)) {
        // SAFETY: promised by the caller.
        unsafe { sweep::<VectorTile<DotProduct>>(a, b, c, sizes) }
    }

    /// AVX-512 vector whose 32-bit lanes are bf16 pairs in A and B, and f32 in C.
    struct DotProduct;

    impl VectorIsa for DotProduct {
        type Vector = __m512;
        const LANES: usize = Avx512::LANES;
        const ROWS: usize = Avx512::ROWS;

        #[inline(always)]
        unsafe fn zero() -> __m512 {
            // SAFETY: the caller promises the instructions.
            unsafe { Avx512::zero() }
        }

        #[inline(always)]
        unsafe fn load(from: *const f32) -> __m512 {
            // SAFETY: promised by the caller.
            unsafe { Avx512::load(from) }
        }

        #[inline(always)]
        unsafe fn splat(from: *const f32) -> __m512 {
            // SAFETY: promised by the caller.
            unsafe { Avx512::splat(from) }
        }

        #[inline(always)]
        unsafe fn multiply_add(a: __m512, b: __m512, sum: __m512) -> __m512 {
            // SAFETY: the caller promises the instructions; a place is 32 bits of any value, and the vector of bf16 is
            // the same 512 bits.
            unsafe {
                let pairs = |places: __m512| -> __m512bh { std::mem::transmute(places) };
                _mm512_dpbf16_ps(sum, pairs(a), pairs(b))
            }
        }

        #[inline(always)]
        unsafe fn store(sum: __m512, to: *mut f32, accumulate: bool) {
            // SAFETY: promised by the caller.
            unsafe { Avx512::store(sum, to, accumulate) }
        }
    }
}
