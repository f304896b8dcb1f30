//! Packing: copies of matrix blocks in the order in which a microkernel reads them.

use crate::Precision;
use crate::fused::simd::level::vectorized;
use crate::fused::simd::math::round_in_place;
use crate::fused::simd::matrix::Matrix;

/// Steps of k that are packed into all panels before the next steps. They are few enough to stay in the L1 cache, and
/// the matrix is read along its rows.
const STEPS: usize = 16;

/// Packs B (k × n) into panels of `width` columns, in the order panel, step of k, column. `packed` has ⌈n /
/// width⌉·k·width floats.
pub(crate) fn pack_panels(b: Matrix, width: usize, precision: Precision, packed: &mut [f32]) {
    if b.column_stride == 1 {
        for_each_piece(b, width, 1, packed, |block, packed| {
            copy_block(block.data, block.row_stride, block.columns, width, packed);
        });
    } else {
        for (panel, packed) in packed.chunks_exact_mut((b.rows * width).max(1)).enumerate() {
            let columns = width.min(b.columns - panel * width);
            let block = b.block((0, b.rows), (panel * width, columns));
            interleave(block, width, packed);
        }
    }
    if precision == Precision::Bf16 {
        round_in_place(packed);
    }
}

/// Calls `piece(block of B, its range of the packed panel)` for a few steps of k of all panels, then for the next
/// steps. `in_place` steps share 32 bits. Missing columns are filled with 0.
pub(super) fn for_each_piece(
    b: Matrix,
    width: usize,
    in_place: usize,
    packed: &mut [f32],
    mut piece: impl FnMut(Matrix, &mut [f32]),
) {
    for start in (0..b.rows).step_by(STEPS) {
        let steps = STEPS.min(b.rows - start);
        let (first, last) = (start / in_place, (start + steps).div_ceil(in_place));
        let panel_length = b.rows.div_ceil(in_place) * width;
        for (panel, packed) in packed.chunks_exact_mut(panel_length).enumerate() {
            let columns = width.min(b.columns - panel * width);
            let packed = &mut packed[first * width..last * width];
            if columns < width {
                packed.fill(0.0);
            }
            piece(b.block((start, steps), (panel * width, columns)), packed);
        }
    }
}

vectorized! {
    /// Copies a block with contiguous rows: (steps, columns) → (steps, `width`).
    fn copy_block(data: &[f32], row_stride: usize, columns: usize, width: usize, packed: &mut [f32]) {
        match columns {
            4 => copy_steps::<4>(data, row_stride, width, packed),
            6 => copy_steps::<6>(data, row_stride, width, packed),
            8 => copy_steps::<8>(data, row_stride, width, packed),
            12 => copy_steps::<12>(data, row_stride, width, packed),
            16 => copy_steps::<16>(data, row_stride, width, packed),
            32 => copy_steps::<32>(data, row_stride, width, packed),
            _ => {
                for (p, packed) in packed.chunks_exact_mut(width).enumerate() {
                    packed[..columns].copy_from_slice(&data[p * row_stride..][..columns]);
                }
            }
        }
        let _ = FMA;
    }

    /// Transposes a block whose columns are contiguous and begin `column_stride` floats apart.
    fn transpose_block(data: &[f32], column_stride: usize, sizes: (usize, usize), width: usize, packed: &mut [f32]) {
        let (steps, columns) = sizes;
        let (whole_steps, whole_columns) = (steps / SIDE * SIDE, columns / SIDE * SIDE);
        if steps == 0 || columns == 0 {
            return;
        }
        assert!(data.len() >= (columns - 1) * column_stride + steps);
        assert!(columns <= width && packed.len() >= (steps - 1) * width + columns);
        // Goes along the columns, in which the processor prefetches.
        for column in (0..whole_columns).step_by(SIDE) {
            for step in (0..whole_steps).step_by(SIDE) {
                // SAFETY: the square lies within the steps and columns, and these within both slices.
                unsafe {
                    let from = data.as_ptr().add(column * column_stride + step);
                    let to = packed.as_mut_ptr().add(step * width + column);
                    transpose_square((from, column_stride), (to, width));
                }
            }
        }
        for column in 0..columns {
            let first = if column < whole_columns { whole_steps } else { 0 };
            for step in first..steps {
                packed[step * width + column] = data[column * column_stride + step];
            }
        }
        let _ = FMA;
    }
}

/// Rows and columns of the squares that are transposed at once.
const SIDE: usize = 4;

/// Transposes a square: to[i][j] = from[j][i]. Each operand is a pointer with its row stride.
///
/// # Safety
/// All rows of `from` can be read and all rows of `to` written, and they do not overlap.
#[inline(always)]
unsafe fn transpose_square(from: (*const f32, usize), to: (*mut f32, usize)) {
    // SAFETY: promised by the caller; every x86-64 has SSE.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        use std::arch::x86_64::{_MM_TRANSPOSE4_PS, _mm_loadu_ps, _mm_storeu_ps};
        let [mut a, mut b, mut c, mut d] =
            std::array::from_fn(|row| _mm_loadu_ps(from.0.add(row * from.1)));
        _MM_TRANSPOSE4_PS(&mut a, &mut b, &mut c, &mut d);
        for (row, values) in [a, b, c, d].into_iter().enumerate() {
            _mm_storeu_ps(to.0.add(row * to.1), values);
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    for row in 0..SIDE {
        for column in 0..SIDE {
            // SAFETY: promised by the caller.
            unsafe { *to.0.add(row * to.1 + column) = *from.0.add(column * from.1 + row) };
        }
    }
}

/// Copies `W` columns of each step to the front of a panel of `width` columns.
#[inline(always)]
fn copy_steps<const W: usize>(data: &[f32], row_stride: usize, width: usize, packed: &mut [f32]) {
    for (p, packed) in packed.chunks_exact_mut(width).enumerate() {
        let from = data[p * row_stride..].first_chunk::<W>();
        let to = packed.first_chunk_mut::<W>();
        if let (Some(to), Some(from)) = (to, from) {
            *to = *from;
        }
    }
}

/// Packs columns of any stride, one step of k after the other. Missing columns are filled with 0.
pub(super) fn interleave(block: Matrix, width: usize, packed: &mut [f32]) {
    if block.columns < width {
        packed.fill(0.0);
    }
    let sizes = (block.rows, block.columns);
    if block.row_stride == 1 {
        return transpose_block(block.data, block.column_stride, sizes, width, packed);
    }
    // Works in pieces that stay in the L1 cache.
    for start in (0..block.rows).step_by(STEPS) {
        let steps = STEPS.min(block.rows - start);
        for column in 0..block.columns {
            let from = &block.data[column * block.column_stride + start * block.row_stride..];
            let to = &mut packed[start * width + column..];
            for p in 0..steps {
                to[p * width] = from[p * block.row_stride];
            }
        }
    }
}
