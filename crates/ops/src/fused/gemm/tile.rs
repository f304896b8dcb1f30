//! Operands of a microkernel, and the sweep of a microkernel over all tiles of C.

use crate::fused::simd::level::{Level, level};

/// Strided operand A of a tile product: tile i begins at `pointer + i·tile_stride`, and its element (row, p) stands
/// `row·row_stride + p % RUN·step + p / RUN·run` further. Either the rows or the steps are side by side: `row_stride`
/// or `step` is 1.
#[derive(Clone, Copy)]
pub(crate) struct Rows {
    pub pointer: *const f32,
    pub tile_stride: usize,
    pub row_stride: usize,
    pub step: usize,
    /// `RUN` steps, except in blocks.
    pub run: usize,
}

/// Places of a row that stand side by side in a block.
pub(crate) const RUN: usize = 16;
/// Rows of a block.
#[cfg(target_arch = "x86_64")]
pub(crate) const BLOCK_ROWS: usize = 32;

impl Rows {
    /// Describes rows of contiguous elements, `stride` apart.
    pub fn contiguous(pointer: *const f32, stride: usize) -> Self {
        Self {
            pointer,
            tile_stride: tile_shape().0 * stride,
            row_stride: stride,
            step: 1,
            run: RUN,
        }
    }

    /// Describes steps one after the other, each with `rows` rows side by side.
    pub fn steps(pointer: *const f32, rows: usize) -> Self {
        Self {
            pointer,
            tile_stride: tile_shape().0,
            row_stride: 1,
            step: rows,
            run: RUN * rows,
        }
    }

    /// Describes packed tiles: for each of `steps`, a tile's rows side by side.
    pub fn packed(pointer: *const f32, steps: usize) -> Self {
        let height = tile_shape().0;
        Self {
            pointer,
            tile_stride: height * steps,
            row_stride: 1,
            step: height,
            run: RUN * height,
        }
    }

    /// Describes blocks: for each `BLOCK_ROWS` rows (the tile height), blocks of `RUN` places, one after the other,
    /// each in `parts` parts.
    #[cfg(target_arch = "x86_64")]
    pub fn blocks(pointer: *const f32, places: usize, parts: usize) -> Self {
        Self {
            pointer,
            tile_stride: BLOCK_ROWS * places.next_multiple_of(RUN) * parts,
            row_stride: RUN,
            step: 1,
            run: BLOCK_ROWS * RUN * parts,
        }
    }
}

/// Destination of a tile of C: rows `stride` apart.
#[derive(Clone, Copy)]
pub(crate) struct Target {
    pub pointer: *mut f32,
    pub stride: usize,
    /// True if the product is added to the old content.
    pub accumulate: bool,
}

/// Returns the rows and columns of a full tile.
pub(crate) fn tile_shape() -> (usize, usize) {
    match level() {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => (12, 32),
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => (6, 16),
        Level::Portable => (4, 8),
    }
}

/// The widest panel of any level.
const MAX_COLUMNS: usize = 32;

/// Microkernel of one instruction level. `ROWS` and `COLUMNS` are those of a full tile.
pub(super) trait Tile {
    const ROWS: usize;
    const COLUMNS: usize;

    /// C = A·B, or C += A·B, for `R` rows, all columns, and k steps.
    ///
    /// # Safety
    /// As [`multiply_packed`], for a full panel.
    unsafe fn multiply<const R: usize>(a: Rows, b: *const f32, c: Target, k: usize);
}

/// Computes all tiles of C, panel after panel, so that a panel of B stays in the L1 cache while A streams by.
///
/// # Safety
/// As [`multiply_packed`].
#[inline(always)]
pub(super) unsafe fn sweep<T: Tile>(
    a: Rows,
    b: &[f32],
    c: Target,
    (m, k, n): (usize, usize, usize),
) {
    debug_assert_eq!(a.run, RUN * a.step);
    let mut edge = [0f32; 16 * MAX_COLUMNS];
    for (panel, column) in (0..n).step_by(T::COLUMNS).enumerate() {
        debug_assert!(b.len() >= (panel + 1) * k * T::COLUMNS);
        let columns = T::COLUMNS.min(n - column);
        let mut row = 0;
        while row < m {
            let rows = T::ROWS.min(m - row);
            // SAFETY: row < m, column < n and the panel is within B; partial panels go by way of `edge`.
            unsafe {
                let b = b.as_ptr().add(panel * k * T::COLUMNS);
                let a = Rows {
                    pointer: a.pointer.add(row / T::ROWS * a.tile_stride),
                    ..a
                };
                let c = Target {
                    pointer: c.pointer.add(row * c.stride + column),
                    ..c
                };
                if columns == T::COLUMNS {
                    multiply_rows::<T>(rows, a, b, c, k);
                } else {
                    let whole = Target {
                        pointer: edge.as_mut_ptr(),
                        stride: T::COLUMNS,
                        accumulate: false,
                    };
                    multiply_rows::<T>(rows, a, b, whole, k);
                    copy_edge(&edge, T::COLUMNS, c, (rows, columns));
                }
            }
            row += rows;
        }
    }
}

/// # Safety
/// C has rows × columns elements.
unsafe fn copy_edge(edge: &[f32], stride: usize, c: Target, (rows, columns): (usize, usize)) {
    for row in 0..rows {
        for column in 0..columns {
            // SAFETY: promised by the caller.
            let target = unsafe { c.pointer.add(row * c.stride + column) };
            let value = edge[row * stride + column];
            // SAFETY: promised by the caller; C is read only where it is added to.
            unsafe {
                target.write(match c.accumulate {
                    true => target.read() + value,
                    false => value,
                });
            }
        }
    }
}

/// # Safety
/// As [`Tile::multiply`].
#[inline(always)]
unsafe fn multiply_rows<T: Tile>(rows: usize, a: Rows, b: *const f32, c: Target, k: usize) {
    // SAFETY: promised by the caller.
    unsafe {
        match rows {
            1 => T::multiply::<1>(a, b, c, k),
            2 => T::multiply::<2>(a, b, c, k),
            3 => T::multiply::<3>(a, b, c, k),
            4 => T::multiply::<4>(a, b, c, k),
            5 => T::multiply::<5>(a, b, c, k),
            6 => T::multiply::<6>(a, b, c, k),
            7 => T::multiply::<7>(a, b, c, k),
            8 => T::multiply::<8>(a, b, c, k),
            9 => T::multiply::<9>(a, b, c, k),
            10 => T::multiply::<10>(a, b, c, k),
            11 => T::multiply::<11>(a, b, c, k),
            _ => T::multiply::<12>(a, b, c, k),
        }
    }
}

/// Stores a tile of `COLUMNS` columns.
///
/// # Safety
/// C has a row of as many columns for each of the tile's.
#[inline(always)]
pub(super) unsafe fn store<const COLUMNS: usize>(sums: &[[f32; COLUMNS]], c: Target) {
    for (row, sums) in sums.iter().enumerate() {
        // SAFETY: promised by the caller.
        let target = unsafe { c.pointer.add(row * c.stride).cast::<[f32; COLUMNS]>() };
        let mut sums = *sums;
        if c.accumulate {
            // SAFETY: promised by the caller; C is read only where it is added to.
            let before = unsafe { target.read() };
            for (sum, before) in sums.iter_mut().zip(before) {
                *sum += before;
            }
        }
        // SAFETY: promised by the caller.
        unsafe { target.write(sums) };
    }
}
