//! Vector microkernel for AVX2 and AVX-512: each row of a tile is two vectors.

use std::arch::x86_64::*;
use std::hint::black_box;
use std::marker::PhantomData;

use super::tile::{Rows, Target, Tile};

/// Vector instructions that a microkernel needs.
pub(super) trait VectorIsa {
    /// Vector of `LANES` elements of C or B.
    type Vector: Copy;
    const LANES: usize;
    /// Rows of a full tile: as many as fit into the registers, with two vectors each.
    const ROWS: usize;

    /// Returns a vector of zeros.
    ///
    /// # Safety
    /// The machine has the instruction set. This holds for all functions of the trait.
    unsafe fn zero() -> Self::Vector;
    /// Loads `LANES` numbers.
    ///
    /// # Safety
    /// `LANES` numbers can be read at `from`.
    unsafe fn load(from: *const f32) -> Self::Vector;
    /// Loads one number into all lanes.
    ///
    /// # Safety
    /// A number can be read at `from`.
    unsafe fn splat(from: *const f32) -> Self::Vector;
    /// Returns a·b + sum.
    ///
    /// # Safety
    /// The machine has the instruction set.
    unsafe fn multiply_add(a: Self::Vector, b: Self::Vector, sum: Self::Vector) -> Self::Vector;
    /// Stores `sum`, added to the old content if `accumulate` is true.
    ///
    /// # Safety
    /// `LANES` numbers can be written at `to`.
    unsafe fn store(sum: Self::Vector, to: *mut f32, accumulate: bool);
}

/// Microkernel whose tiles have rows of two vectors.
pub(super) struct VectorTile<V>(PhantomData<V>);

/// Steps of k in one iteration of the unrolled loop. Without unrolling, counters and pointer increments are more than
/// a quarter of the instructions. Unrolling made a product 1.1 to 1.3 times as fast, on two Zen 3 cores that share
/// their units with another hardware thread.
const UNROLLED: usize = 4;
/// Rows that have their own pointer; the other rows are addressed relative to these.
const POINTERS: usize = 6;

impl<V: VectorIsa> Tile for VectorTile<V> {
    const ROWS: usize = V::ROWS;
    const COLUMNS: usize = 2 * V::LANES;

    #[inline(always)]
    unsafe fn multiply<const R: usize>(a: Rows, b: *const f32, c: Target, k: usize) {
        // SAFETY: the caller promises the instructions and the elements.
        unsafe {
            let mut sums = [[V::zero(); 2]; R];
            if a.row_stride == 1 {
                add_steps::<V, R>(&mut sums, a, b, k);
            } else {
                debug_assert_eq!(a.step, 1);
                add_rows::<V, R>(&mut sums, a, b, k);
            }
            for (row, sums) in sums.iter().enumerate() {
                for (half, &sum) in sums.iter().enumerate() {
                    let target = c.pointer.add(row * c.stride + V::LANES * half);
                    V::store(sum, target, c.accumulate);
                }
            }
        }
    }
}

/// Adds `k` steps, for A with the rows of a step side by side.
///
/// # Safety
/// Same contract as [`Tile::multiply`].
#[inline(always)]
unsafe fn add_steps<V: VectorIsa, const R: usize>(
    sums: &mut [[V::Vector; 2]; R],
    a: Rows,
    b: *const f32,
    k: usize,
) {
    let (mut a_step, mut b_step) = (a.pointer, b);
    // SAFETY: the caller promises k steps, and as many are read.
    unsafe {
        for _ in 0..k / UNROLLED {
            for ahead in 0..UNROLLED {
                let b = b_step.add(2 * V::LANES * ahead);
                add_step::<V, R>(sums, |row| a_step.add(row), b);
                a_step = a_step.wrapping_add(a.step);
            }
            b_step = b_step.wrapping_add(2 * V::LANES * UNROLLED);
        }
        for _ in 0..k % UNROLLED {
            add_step::<V, R>(sums, |row| a_step.add(row), b_step);
            a_step = a_step.wrapping_add(a.step);
            b_step = b_step.wrapping_add(2 * V::LANES);
        }
    }
}

/// Adds `k` steps, for A with contiguous rows.
///
/// # Safety
/// Same contract as [`Tile::multiply`].
#[inline(always)]
unsafe fn add_rows<V: VectorIsa, const R: usize>(
    sums: &mut [[V::Vector; 2]; R],
    a: Rows,
    b: *const f32,
    k: usize,
) {
    // Opaque to the compiler, which would otherwise keep distances instead of pointers, and more of them than
    // registers.
    let mut rows: [*const f32; POINTERS] =
        std::array::from_fn(|row| black_box(a.pointer.wrapping_add(row * a.row_stride)));
    let beyond = POINTERS * a.row_stride;
    let mut b_step = b;
    // SAFETY: the caller promises k steps of R rows, and as many are read.
    unsafe {
        for _ in 0..k / UNROLLED {
            for ahead in 0..UNROLLED {
                let element =
                    |row: usize| rows[row % POINTERS].add(row / POINTERS * beyond + ahead);
                add_step::<V, R>(sums, element, b_step.add(2 * V::LANES * ahead));
            }
            rows = rows.map(|row| row.wrapping_add(UNROLLED));
            b_step = b_step.wrapping_add(2 * V::LANES * UNROLLED);
        }
        for _ in 0..k % UNROLLED {
            let element = |row: usize| rows[row % POINTERS].add(row / POINTERS * beyond);
            add_step::<V, R>(sums, element, b_step);
            rows = rows.map(|row| row.wrapping_add(1));
            b_step = b_step.wrapping_add(2 * V::LANES);
        }
    }
}

/// Adds one step of k. `element` returns the address of A's element in each row.
///
/// # Safety
/// R elements of A and two vectors of B can be read, and the machine has the instruction set.
#[inline(always)]
unsafe fn add_step<V: VectorIsa, const R: usize>(
    sums: &mut [[V::Vector; 2]; R],
    element: impl Fn(usize) -> *const f32,
    b: *const f32,
) {
    // SAFETY: promised by the caller.
    unsafe {
        let (left, right) = (V::load(b), V::load(b.add(V::LANES)));
        for (row, sums) in sums.iter_mut().enumerate() {
            let a = V::splat(element(row));
            sums[0] = V::multiply_add(a, left, sums[0]);
            sums[1] = V::multiply_add(a, right, sums[1]);
        }
    }
}

/// Instruction sets AVX2 and FMA.
pub(super) struct Avx2;

impl VectorIsa for Avx2 {
    type Vector = __m256;
    const LANES: usize = 8;
    const ROWS: usize = 6;

    #[inline(always)]
    unsafe fn zero() -> __m256 {
        // SAFETY: the caller promises the instructions.
        unsafe { _mm256_setzero_ps() }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> __m256 {
        // SAFETY: promised by the caller.
        unsafe { _mm256_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn splat(from: *const f32) -> __m256 {
        // SAFETY: promised by the caller.
        unsafe { _mm256_set1_ps(*from) }
    }

    #[inline(always)]
    unsafe fn multiply_add(a: __m256, b: __m256, sum: __m256) -> __m256 {
        // SAFETY: the caller promises the instructions.
        unsafe { _mm256_fmadd_ps(a, b, sum) }
    }

    #[inline(always)]
    unsafe fn store(mut sum: __m256, to: *mut f32, accumulate: bool) {
        // SAFETY: promised by the caller.
        unsafe {
            if accumulate {
                sum = _mm256_add_ps(_mm256_loadu_ps(to), sum);
            }
            _mm256_storeu_ps(to, sum);
        }
    }
}

/// Instruction set AVX-512F.
pub(super) struct Avx512;

impl VectorIsa for Avx512 {
    type Vector = __m512;
    const LANES: usize = 16;
    const ROWS: usize = 12;

    #[inline(always)]
    unsafe fn zero() -> __m512 {
        // SAFETY: the caller promises the instructions.
        unsafe { _mm512_setzero_ps() }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> __m512 {
        // SAFETY: promised by the caller.
        unsafe { _mm512_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn splat(from: *const f32) -> __m512 {
        // SAFETY: promised by the caller.
        unsafe { _mm512_set1_ps(*from) }
    }

    #[inline(always)]
    unsafe fn multiply_add(a: __m512, b: __m512, sum: __m512) -> __m512 {
        // SAFETY: the caller promises the instructions.
        unsafe { _mm512_fmadd_ps(a, b, sum) }
    }

    #[inline(always)]
    unsafe fn store(mut sum: __m512, to: *mut f32, accumulate: bool) {
        // SAFETY: promised by the caller.
        unsafe {
            if accumulate {
                sum = _mm512_add_ps(_mm512_loadu_ps(to), sum);
            }
            _mm512_storeu_ps(to, sum);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fused::gemm::tile::{RUN, sweep};

    /// Portable stand-in with vectors of four numbers and tiles of twelve rows, like those of AVX-512, for tests on
    /// any machine.
    struct Numbers;

    impl VectorIsa for Numbers {
        type Vector = [f32; 4];
        const LANES: usize = 4;
        const ROWS: usize = 12;

        unsafe fn zero() -> [f32; 4] {
            [0.0; 4]
        }

        unsafe fn load(from: *const f32) -> [f32; 4] {
            // SAFETY: promised by the caller.
            unsafe { from.cast::<[f32; 4]>().read_unaligned() }
        }

        unsafe fn splat(from: *const f32) -> [f32; 4] {
            // SAFETY: promised by the caller.
            unsafe { [*from; 4] }
        }

        unsafe fn multiply_add(a: [f32; 4], b: [f32; 4], sum: [f32; 4]) -> [f32; 4] {
            std::array::from_fn(|lane| a[lane] * b[lane] + sum[lane])
        }

        unsafe fn store(sum: [f32; 4], to: *mut f32, accumulate: bool) {
            // SAFETY: promised by the caller.
            unsafe {
                let old = if accumulate { Self::load(to) } else { [0.0; 4] };
                let new: [f32; 4] = std::array::from_fn(|lane| old[lane] + sum[lane]);
                to.cast::<[f32; 4]>().write_unaligned(new);
            }
        }
    }

    /// Returns a small integer, so that sums are exact in any order.
    fn number(row: usize, column: usize) -> f32 {
        ((row * 7 + column * 13) % 17) as f32 - 8.0
    }

    /// Checks that products are exact for numbers of rows, steps and columns around those of a tile, for A with
    /// contiguous rows and with contiguous columns.
    #[test]
    fn tiles_of_twelve_rows_are_exact() {
        let (height, width) = (Numbers::ROWS, 2 * Numbers::LANES);
        for m in (0..=13).chain([24, 29]) {
            for k in [0, 1, 3, 4, 5, 11] {
                for n in [1usize, 8, 13] {
                    let stride = k + 3;
                    let contiguous: Vec<f32> = (0..m * stride)
                        .map(|at| number(at / stride, at % stride))
                        .collect();
                    let tiles = m.div_ceil(height);
                    let mut packed = vec![f32::NAN; tiles * k * height];
                    let mut b = vec![0.0; n.div_ceil(width) * k * width];
                    for step in 0..k {
                        for row in 0..m {
                            let tile = row / height * k * height;
                            packed[tile + step * height + row % height] = number(row, step);
                        }
                        for column in 0..n {
                            let panel = column / width * k * width;
                            b[panel + step * width + column % width] = number(column, step + 5);
                        }
                    }
                    let layouts = [
                        (&contiguous, height * stride, stride, 1),
                        (&packed, height * k, 1, height),
                    ];
                    for (a, tile_stride, row_stride, step) in layouts {
                        let a = Rows {
                            pointer: a.as_ptr(),
                            tile_stride,
                            row_stride,
                            step,
                            run: RUN * step,
                        };
                        for accumulate in [false, true] {
                            let mut c = vec![1.0; m * n];
                            let target = Target {
                                pointer: c.as_mut_ptr(),
                                stride: n,
                                accumulate,
                            };
                            // SAFETY: A, B and C have as many elements as the sizes say.
                            unsafe { sweep::<VectorTile<Numbers>>(a, &b, target, (m, k, n)) };
                            for (at, found) in c.iter().enumerate() {
                                let sum = |p| number(at / n, p) * number(at % n, p + 5);
                                let sum: f32 = (0..k).map(sum).sum();
                                let expected = sum + if accumulate { 1.0 } else { 0.0 };
                                assert_eq!(*found, expected, "{m} × {k} × {n}, at {at}");
                            }
                        }
                    }
                }
            }
        }
    }
}
