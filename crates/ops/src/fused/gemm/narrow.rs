//! Products of a few dozen rows with a large B in contiguous columns, as in generation: computed as Cᵀ = Bᵀ·Aᵀ.
//!
//! Packing B would take twice as long as the product. The transposed product reads B as it is and packs only A. Each
//! element of C has the same factors in the same order, so the result has the bits of the product with a packed B.

use super::driver::{Store, with_packed_by};
use super::format::Format;
use crate::fused::simd::buffer::{Shared, with_buffer};
use crate::fused::simd::matrix::Matrix;
use crate::fused::simd::parallel::Threads;

/// Maximum number of rows of A. With more rows, packing B costs little in comparison.
pub(super) const MOST_ROWS: usize = 64;
/// Columns of C in a task: those of B stay in the L2 cache while all rows are multiplied.
const TASK_COLUMNS: usize = 120;

/// Returns true if the product of `rows` rows with B is better computed transposed.
pub(super) fn applies(rows: usize, b: Matrix, format: Format) -> bool {
    let has_rows_without_blocks =
        matches!(format, Format::Plain | Format::Rounded | Format::Bf16Pairs);
    rows <= MOST_ROWS && b.columns > MOST_ROWS && b.row_stride == 1 && has_rows_without_blocks
}

/// Computes C = A·B or C += A·B, for C in rows that are `stride` apart.
pub(super) fn multiply(
    a: Matrix,
    b: Matrix,
    (c, stride): (Shared, usize),
    store: Store,
    (format, threads): (Format, Threads),
) {
    let (m, k, n) = (a.rows, a.columns, b.columns);
    with_packed_by(threads, a.transposed(), format, |rows| {
        let task = |task: usize| {
            let first = task * TASK_COLUMNS;
            let count = TASK_COLUMNS.min(n - first);
            let part = b.block((0, k), (first, count)).transposed();
            // Elements of C in the order of Cᵀ.
            let places = || {
                (0..count)
                    .flat_map(move |column| (0..m).map(move |row| row * stride + first + column))
            };
            with_buffer(count * m, |products| {
                if store == Store::Add {
                    for (product, place) in products.iter_mut().zip(places()) {
                        // SAFETY: the element is in C, and no other task has these columns.
                        *product = unsafe { c.part(place, 1).pointer().read() };
                    }
                }
                rows.multiply(part, products, store, Threads::One);
                for (product, place) in products.iter().zip(places()) {
                    // SAFETY: as above; a C that is replaced is only written.
                    unsafe { c.part(place, 1).pointer().write(*product) };
                }
            });
        };
        threads.for_each(n.div_ceil(TASK_COLUMNS), m * k * n, task);
    });
}
