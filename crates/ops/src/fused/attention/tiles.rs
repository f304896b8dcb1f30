//! Packing and multiplication of the tiles of attention's heads.

use crate::fused::gemm::format::Format;
use crate::fused::gemm::tile::{Rows, Target, tile_shape};
use crate::fused::simd::matrix::Matrix;

/// Packs positions (count × d) as the columns of B, for a product that sums over d.
pub(super) fn pack_columns(positions: Matrix, format: Format, packed: &mut [f32]) {
    pack(positions.transposed(), format, packed);
}

/// Packs positions (count × d) as the rows of B, for a product that sums over the positions.
pub(super) fn pack_steps(positions: Matrix, format: Format, packed: &mut [f32]) {
    pack(positions, format, packed);
}

fn pack(b: Matrix, format: Format, packed: &mut [f32]) {
    let panel_width = tile_shape().1;
    let length = b.columns.next_multiple_of(panel_width) * format.places(b.rows);
    format.pack_panels(b, panel_width, &mut packed[..length]);
}

/// Returns the largest number of floats that [`pack_columns`] or [`pack_steps`] writes for `count` positions.
pub(super) fn packed_length(count: usize, width: usize) -> usize {
    let panel_width = tile_shape().1;
    count.next_multiple_of(panel_width) * width.next_multiple_of(panel_width)
}

/// Computes C = A·B, or C += A·B. A (m × k) is copied row by row, B (k × n) is packed, and the rows of C are `n`
/// apart.
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
    // SAFETY: C is a mutable borrow of m × n elements.
    unsafe { multiply_into(format, [a, b], target, (m, k, n)) }
}

/// Computes C = A·B, or C += A·B. A (m × k) is copied row by row, and B (k × n) is packed.
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
    // SAFETY: promised by the caller; the rows of A are contiguous.
    unsafe { multiply_checked(format, (a, rows), b, c, sizes) }
}

/// Computes C += Aᵀ·B. A (k × m) has the layout of [`Format::as_steps`], and B (k × n) is packed.
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
    // SAFETY: promised by the caller; the rows of A, one for each step of k, are contiguous.
    unsafe { multiply_checked(format, (a, rows), b, c, sizes) }
}

/// Checks the lengths of A and B, then computes the product.
///
/// # Safety
/// C has m × n elements, and no other task writes them. `rows` describes all of `a` and nothing beyond.
unsafe fn multiply_checked(
    format: Format,
    (a, rows): (&[f32], Rows),
    b: &[f32],
    c: Target,
    (m, k, n): (usize, usize, usize),
) {
    let places = format.places(k);
    assert!(a.len() >= m * places && b.len() >= places * n.next_multiple_of(tile_shape().1));
    // SAFETY: the lengths of A and B were checked; the caller promises the rest.
    unsafe { format.multiply(rows, b, c, (m, places, n)) }
}
