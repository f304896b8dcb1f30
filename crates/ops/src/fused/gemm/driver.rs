//! GEMM driver: matrix products on all threads.
//!
//! The order in which an element of C is summed depends on k alone: blocks of k, one after the other, each summed in
//! order. How C is cut into tasks may therefore depend on the number of threads, and the result does not.

use super::format::Format;
use super::tile::{Rows, Target, tile_shape};
use crate::Precision;
use crate::fused::simd::buffer::{Shared, with_buffer};
use crate::fused::simd::math::{dot, dot_bf16};
use crate::fused::simd::matrix::Matrix;
use crate::fused::simd::parallel::{Threads, for_each};

/// Places of a block of k at most: a panel of B is then 16 or 32 KiB, which the caches keep up with.
const BLOCK_PLACES: usize = 256;
/// Rows of A in a task at most: a block of A then stays in the second cache.
const TASK_ROWS: usize = 120;
/// Rows and columns of a task with a long sum.
const LONG_ROWS: usize = 132;
const LONG_COLUMNS: usize = 256;
/// Tiles of rows in a task of a symmetric product: the fewer, the less is computed above the diagonal.
const SYMMETRIC_TILES: usize = 3;
/// Rows whose mirror image a task writes.
const MIRRORED: usize = 32;
/// Steps of k at most for which B is packed at a time: what bounds the memory.
const PACKED_STEPS: usize = 4096;
/// Columns of B that one task packs.
const PACKED_COLUMNS: usize = 64;
/// Multiplications that the packing of a number is worth.
const PACKING_WORK: usize = 8;
/// Rows up to which packing the weights costs more than it saves.
const FEW_ROWS: usize = 4;

/// Treatment of the old content of C.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Store {
    /// C = A·B.
    Replace,
    /// C += A·B.
    Add,
}

/// Computes C = A·B or C += A·B, for C (m × n) in contiguous rows; the operands are rounded as `precision` says.
pub(crate) fn gemm(a: Matrix, b: Matrix, c: &mut [f32], store: Store, precision: Precision) {
    gemm_in(Format::of(precision), a, b, c, store);
}

/// Computes [`gemm`] with operands packed in `format`.
pub(crate) fn gemm_in(format: Format, a: Matrix, b: Matrix, c: &mut [f32], store: Store) {
    gemm_into(format, a, b, Shared::new(c), store);
}

/// Computes [`gemm_in`] for a C that, if it is replaced, may be uninitialized.
pub(crate) fn gemm_into(format: Format, a: Matrix, b: Matrix, c: Shared, mut store: Store) {
    let (m, k, n) = (a.rows, a.columns, b.columns);
    assert!(b.rows == k && c.len() == m * n && a.is_within() && b.is_within());
    if m == 0 || n == 0 {
        return;
    }
    if k == 0 {
        if store == Store::Replace {
            // SAFETY: no task has a part of C.
            unsafe { c.zeroed(0, c.len()) };
        }
        return;
    }
    if m <= FEW_ROWS && a.column_stride == 1 && b.row_stride == 1 {
        return few_rows(a, b, c, store, format.precision());
    }
    for start in (0..k).step_by(PACKED_STEPS) {
        let steps = (start, PACKED_STEPS.min(k - start));
        let part = b.block(steps, (0, n));
        // Few rows that come here are not contiguous.
        with_packed(part, m.max(FEW_ROWS + 1), format, |b| {
            b.multiply_into(a.block((0, m), steps), c, store, Threads::All)
        });
        store = Store::Add;
    }
}

/// Computes a symmetric C = A·B, such as A·Aᵀ or a product of symmetric matrices that commute: the diagonal and the
/// elements below it are computed, then mirrored above it.
pub(crate) fn symmetric_gemm(a: Matrix, b: Matrix, c: &mut [f32]) {
    let (m, k) = (a.rows, a.columns);
    assert!(b.rows == k && b.columns == m && c.len() == m * m && a.is_within() && b.is_within());
    if m == 0 || k == 0 {
        return c.fill(0.0);
    }
    let rows = SYMMETRIC_TILES * tile_shape().0;
    let tasks = m.div_ceil(rows);
    for start in (0..k).step_by(PACKED_STEPS) {
        let steps = (start, PACKED_STEPS.min(k - start));
        let part = b.block(steps, (0, m));
        // Few rows are packed all the same: only packed columns can be taken in part.
        with_packed(part, m.max(FEW_ROWS + 1), Format::Plain, |b| {
            let places = b.places.expect("more than few rows are packed");
            let c = Shared::new(c);
            for_each(tasks, m * m * steps.1 / 2, |task| {
                let row = (tasks - 1 - task) * rows; // the longest rows first
                let rows = rows.min(m - row);
                let target = Target {
                    pointer: c.pointer().wrapping_add(row * m),
                    stride: m,
                    accumulate: start > 0,
                };
                let a = a.block((row, rows), steps);
                b.part(places, a, (0, row + rows), target);
            });
        });
    }
    mirror(c, m);
}

/// Mirrors the elements below the diagonal above it.
fn mirror(c: &mut [f32], size: usize) {
    let tasks = size.div_ceil(MIRRORED);
    let c = Shared::new(c);
    for_each(tasks, size * size, |task| {
        let rows = task * MIRRORED..size.min((task + 1) * MIRRORED);
        for column in 0..rows.end {
            for row in rows.start.max(column + 1)..rows.end {
                // SAFETY: both are in C; what mirrors these rows is written by this task alone, and what lies below the
                // diagonal by none.
                unsafe {
                    *c.pointer().add(column * size + row) = *c.pointer().add(row * size + column)
                };
            }
        }
    });
}

/// Computes the dot products of few rows with contiguous columns.
fn few_rows(a: Matrix, b: Matrix, c: Shared, store: Store, precision: Precision) {
    let (k, n) = (a.columns, b.columns);
    let dot = match precision {
        Precision::F32 => dot,
        Precision::Bf16 => dot_bf16,
    };
    for_each(n.div_ceil(64), a.rows * k * n, |task| {
        for column in task * 64..n.min(task * 64 + 64) {
            let b = &b.data[column * b.column_stride..][..k];
            for row in 0..a.rows {
                let value = dot(&a.data[row * a.row_stride..][..k], b);
                let target = c.part(row * n + column, 1).pointer();
                // SAFETY: the element is in C, which is read only where it is added to, and the columns are this task's
                // alone.
                unsafe {
                    target.write(match store {
                        Store::Replace => value,
                        Store::Add => target.read() + value,
                    });
                }
            }
        }
    });
}

/// Returns the rows and columns of C in a task, for a product of m rows, k steps and n columns.
fn task_shape((m, k, n): (usize, usize, usize), format: Format) -> (usize, usize) {
    let (height, width) = (format.tile().0, tile_shape().1);
    let threads = rayon::current_num_threads();
    if m >= k {
        // Gives every thread as many tasks, at least two, unless that makes them too small.
        let tasks = m.div_ceil(TASK_ROWS).next_multiple_of(threads);
        let rows = m.div_ceil(tasks.max(2 * threads)).max(4 * tile_shape().0);
        let rows = rows.next_multiple_of(height);
        // Columns are cut only where there are too few rows for all threads.
        let column_tasks = threads.div_ceil(m.div_ceil(rows));
        (rows, n.div_ceil(column_tasks).next_multiple_of(width))
    } else {
        // A long sum loads and stores C's part once for each block of k: it stays in the L2 cache.
        let columns = n.div_ceil(n.div_ceil(LONG_COLUMNS)).next_multiple_of(width);
        let column_tasks = n.div_ceil(columns);
        let row_tasks = m.div_ceil(LONG_ROWS);
        // Gives every thread as many rows unless these are too few: an edge costs less than a waiting thread.
        let even = row_tasks.next_multiple_of(threads);
        if height == tile_shape().0 && m >= 4 * height * even {
            return (m.div_ceil(even), columns);
        }
        let row_tasks = threads.div_ceil(column_tasks).max(row_tasks);
        // Gives every thread as many tasks, if a few more tasks suffice for that.
        let even = (row_tasks..row_tasks + threads).find(|rows| rows * column_tasks % threads == 0);
        let row_tasks = even.unwrap_or(row_tasks);
        (m.div_ceil(row_tasks).next_multiple_of(height), columns)
    }
}

/// Blocks of k of equal length without edges, but for the last: (start, length).
fn step_blocks(k: usize, format: Format) -> impl Iterator<Item = (usize, usize)> {
    let longest = BLOCK_PLACES * format.steps_in_place();
    let length = k.div_ceil(k.div_ceil(longest));
    let length = length.next_multiple_of(format.tile().1.max(2));
    (0..k)
        .step_by(length)
        .map(move |start| (start, length.min(k - start)))
}

/// Packed operand B (k × n), ready for any number of products.
pub(crate) struct PackedOperand<'p> {
    b: Matrix<'p>,
    /// Block of k after block of k, in each of them panel after panel; none where the rows are too few to pay for it.
    places: Option<&'p [f32]>,
    format: Format,
}

/// Lends B to `work` for products with `rows` rows of A in all, packed in parallel where they are more than a few.
pub(crate) fn with_packed<R>(
    b: Matrix,
    rows: usize,
    format: Format,
    work: impl FnOnce(&PackedOperand) -> R,
) -> R {
    if rows <= FEW_ROWS && b.row_stride == 1 {
        return work(&PackedOperand {
            b,
            places: None,
            format,
        });
    }
    let (k, n) = (b.rows, b.columns);
    let width = tile_shape().1;
    let padded = n.next_multiple_of(width);
    let columns = PACKED_COLUMNS.next_multiple_of(width);
    let column_tasks = n.div_ceil(columns);
    let blocks: Vec<_> = step_blocks(k, format).collect();
    with_buffer(padded * format.places(k), |packed| {
        let shared = Shared::new(packed);
        for_each(blocks.len() * column_tasks, PACKING_WORK * k * n, |task| {
            let (start, length) = blocks[task / column_tasks];
            let column = task % column_tasks * columns;
            let part = b.block((start, length), (column, columns.min(n - column)));
            let places = format.places(length);
            let at = format.places(start) * padded + column * places;
            // SAFETY: each part has its own place in the buffer.
            let packed = unsafe { shared.slice(at, part.columns.next_multiple_of(width) * places) };
            format.pack_panels(part, width, packed);
        });
        work(&PackedOperand {
            b,
            places: Some(packed),
            format,
        })
    })
}

impl PackedOperand<'_> {
    /// C = A·B or C += A·B, for C (m × n) in contiguous rows; A's rows are contiguous where B was lent for a few.
    pub fn multiply(&self, a: Matrix, c: &mut [f32], store: Store, threads: Threads) {
        self.multiply_into(a, Shared::new(c), store, threads);
    }

    /// Computes [`Self::multiply`] for a C that, if it is replaced, may be uninitialized.
    pub fn multiply_into(&self, a: Matrix, c: Shared, store: Store, threads: Threads) {
        let (m, k, n) = (a.rows, self.b.rows, self.b.columns);
        assert!(a.columns == k && a.is_within() && c.len() == m * n);
        if m == 0 || n == 0 {
            return;
        }
        let Some(places) = self.places else {
            return few_rows(a, self.b, c, store, self.format.precision());
        };
        let (rows, columns) = match threads {
            Threads::All => task_shape((m, k, n), self.format),
            Threads::One => (m, n),
        };
        let column_tasks = n.div_ceil(columns);
        for_each(m.div_ceil(rows) * column_tasks, m * k * n, |task| {
            let (row, column) = (task / column_tasks * rows, task % column_tasks * columns);
            let target = Target {
                // A task's own part of C.
                pointer: c.pointer().wrapping_add(row * n + column),
                stride: n,
                accumulate: store == Store::Add,
            };
            let a = a.block((row, rows.min(m - row)), (0, k));
            self.part(places, a, (column, columns.min(n - column)), target);
        });
    }

    /// Computes some columns of C, block of k after block of k.
    fn part(&self, places: &[f32], a: Matrix, (column, columns): (usize, usize), c: Target) {
        let padded = self.b.columns.next_multiple_of(tile_shape().1);
        for (start, length) in step_blocks(a.columns, self.format) {
            let (before, here) = (self.format.places(start), self.format.places(length));
            let packed = &places[before * padded + column * here..];
            let target = Target {
                accumulate: start > 0 || c.accumulate,
                ..c
            };
            self.tiles(
                a.block((0, a.rows), (start, length)),
                packed,
                target,
                columns,
            );
        }
    }

    /// Computes a task's part of C, for one block of k.
    fn tiles(&self, a: Matrix, packed: &[f32], c: Target, columns: usize) {
        let rows = a.rows;
        let places = self.format.places(a.columns);
        assert!(a.is_within() && packed.len() >= columns * places);
        let multiply = |rows_of_a: Rows| {
            let sizes = (rows, places, columns);
            // SAFETY: A's block was checked, B's is packed for these columns, and C's part is this task's alone.
            unsafe { self.format.multiply(rows_of_a, packed, c, sizes) }
        };
        self.format.with_rows(a, multiply);
    }
}
