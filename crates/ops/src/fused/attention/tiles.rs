//! Tiles of attention's heads, packed as their products take them.

use crate::fused::gemm::format::Format;
use crate::fused::gemm::tile::{Rows, Target, tile_shape};
use crate::fused::simd::matrix::Matrix;

/// Packs positions (count × d) as the columns of B: d is summed over.
pub(super) fn pack_columns(positions: Matrix, format: Format, packed: &mut [f32]) {
    pack(positions.transposed(), format, packed);
}

/// Packs positions (count × d) as the steps of B: positions are summed over.
pub(super) fn pack_steps(positions: Matrix, format: Format, packed: &mut [f32]) {
    pack(positions, format, packed);
}

fn pack(b: Matrix, format: Format, packed: &mut [f32]) {
    let panel_width = tile_shape().1;
    let length = b.columns.next_multiple_of(panel_width) * format.places(b.rows);
    format.pack_panels(b, panel_width, &mut packed[..length]);
}

/// Floats that [`pack_columns`] or [`pack_steps`] may need for `count` positions.
pub(super) fn packed_length(count: usize, width: usize) -> usize {
    let panel_width = tile_shape().1;
    count.next_multiple_of(panel_width) * width.next_multiple_of(panel_width)
}

/// C = A·B, or C += A·B, for A's rows (m × k) as copied and packed B (k × n), with C's rows `n` apart.
pub(super) fn multiply(
    format: Format,
    [a, b]: [&[f32]; 2],
    c: &mut [f32],
    accumulate: bool,
    (m, k, n): (usize, usize, usize),
) {
    assert!(c.len() >= m * n);
    let target = Target {
        pointer: c.as_mut_ptr(),
        stride: n,
        accumulate,
    };
    // SAFETY: C has m rows of n, and is borrowed for this.
    unsafe { multiply_into(format, [a, b], target, (m, k, n)) }
}

/// C = A·B, or C += A·B, for A's rows (m × k) as copied and packed B (k × n).
///
/// # Safety
/// C has m × n elements, and no other task writes them.
pub(super) unsafe fn multiply_into(
    format: Format,
    [a, b]: [&[f32]; 2],
    c: Target,
    sizes: (usize, usize, usize),
) {
    let rows = Rows::contiguous(a.as_ptr(), format.places(sizes.1));
    // SAFETY: promised by the caller; A's rows are its places one after the other.
    unsafe { multiply_checked(format, (a, rows), b, c, sizes) }
}

/// C += Aᵀ·B for the steps of A (k × m), as [`Format::as_steps`] gives them, and packed B (k × n).
///
/// # Safety
/// C has m × n elements, and no other task writes them.
pub(super) unsafe fn add_transposed(
    format: Format,
    [a, b]: [&[f32]; 2],
    c: Target,
    sizes: (usize, usize, usize),
) {
    let rows = Rows::steps(a.as_ptr(), sizes.0);
    // SAFETY: promised by the caller; A's places are its steps one after the other.
    unsafe { multiply_checked(format, (a, rows), b, c, sizes) }
}

/// The product, once A and B are found long enough.
///
/// # Safety
/// As above; `rows` are all of `a`, and no more.
unsafe fn multiply_checked(
    format: Format,
    (a, rows): (&[f32], Rows),
    b: &[f32],
    c: Target,
    (m, k, n): (usize, usize, usize),
) {
    let places = format.places(k);
    assert!(a.len() >= m * places && b.len() >= places * n.next_multiple_of(tile_shape().1));
    // SAFETY: the lengths of A and B were checked, the rest is promised by the caller.
    unsafe { format.multiply(rows, b, c, (m, places, n)) }
}
