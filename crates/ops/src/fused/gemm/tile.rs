//! Operands of a microkernel, and the loop that runs a microkernel over all tiles of C.

use crate::fused::simd::level::{Level, level};

/// Strided operand A of a product. Tile i begins at `pointer + i·tile_stride`. Its element (row, p) is
/// `row·row_stride + p % RUN·step + p / RUN·run` floats further. `row_stride` or `step` is 1.
#[derive(Clone, Copy)]
pub(crate) struct Rows {
    pub pointer: *const f32,
    pub tile_stride: usize,
    pub row_stride: usize,
    pub step: usize,
    /// Floats between runs of `RUN` elements of a row: `RUN` steps, except in blocks.
    pub run: usize,
}

/// Elements of a row that are contiguous in a block.
pub(crate) const RUN: usize = 16;
/// Number of rows in a block.
#[cfg(target_arch = "x86_64")]
pub(crate) const BLOCK_ROWS: usize = 32;

impl Rows {
    /// Describes contiguous rows, `stride` floats apart.
    pub fn contiguous(pointer: *const f32, stride: usize) -> Self {
        Self {
            pointer,
            tile_stride: tile_shape().0 * stride,
            row_stride: stride,
            step: 1,
            run: RUN,
        }
    }

    /// Describes A stored as its transpose: for each step of k, `rows` rows side by side.
    pub fn steps(pointer: *const f32, rows: usize) -> Self {
        Self {
            pointer,
            tile_stride: tile_shape().0,
            row_stride: 1,
            step: rows,
            run: RUN * rows,
        }
    }

    /// Describes packed tiles: for each of `steps` steps of k, the rows of a tile side by side.
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

    /// Describes blocks: for each group of `BLOCK_ROWS` rows (the tile height), blocks of `RUN` floats of each row,
    /// one after the other, each in `parts` parts.
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

/// Destination of a tile of C, with rows `stride` floats apart.
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

/// Width of the widest panel of any instruction set.
const MAX_COLUMNS: usize = 32;

/// Microkernel of one instruction set. `ROWS` and `COLUMNS` are the size of a full tile.
pub(super) trait Tile {
    const ROWS: usize;
    const COLUMNS: usize;

    /// Computes C = A·B, or C += A·B, for `R` rows, all columns of a tile, and k steps.
    ///
    /// # Safety
    /// Same contract as [`multiply_packed`], for a full panel.
    unsafe fn multiply<const R: usize>(a: Rows, b: *const f32, c: Target, k: usize);
}

/// Computes all tiles of C, panel after panel: a panel of B stays in the L1 cache while all rows of A are read.
///
/// # Safety
/// Same contract as [`multiply_packed`].
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
            // SAFETY: row < m, column < n, and the panel is within B; partial panels are computed into `edge` first.
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

/// Copies the part of a tile that lies within C, or adds it to C.
///
/// # Safety
/// C has rows × columns elements.
unsafe fn copy_edge(edge: &[f32], stride: usize, c: Target, (rows, columns): (usize, usize)) {
    for row in 0..rows {
        for column in 0..columns {
            // SAFETY: promised by the caller.
            let target = unsafe { c.pointer.add(row * c.stride + column) };
            let value = edge[row * stride + column];
            // SAFETY: promised by the caller; C is read only if the product is added.
            unsafe {
                target.write(match c.accumulate {
                    true => target.read() + value,
                    false => value,
                });
            }
        }
    }
}

/// Calls the microkernel that was compiled for this number of rows.
///
/// # Safety
/// Same contract as [`Tile::multiply`].
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

/// Stores a tile of `COLUMNS` columns, or adds it to C.
///
/// # Safety
/// C has a row of `COLUMNS` elements for each row of the tile.
#[inline(always)]
pub(super) unsafe fn store<const COLUMNS: usize>(sums: &[[f32; COLUMNS]], c: Target) {
    for (row, sums) in sums.iter().enumerate() {
        // SAFETY: promised by the caller.
        let target = unsafe { c.pointer.add(row * c.stride).cast::<[f32; COLUMNS]>() };
        let mut sums = *sums;
        if c.accumulate {
            // SAFETY: promised by the caller; C is read only if the product is added.
            let before = unsafe { target.read() };
            for (sum, before) in sums.iter_mut().zip(before) {
                *sum += before;
            }
        }
        // SAFETY: promised by the caller.
        unsafe { target.write(sums) };
    }
}
