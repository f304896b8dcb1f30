//! GEMM driver: matrix products on all threads.
//!
//! The order in which an element of C is summed depends on k alone: blocks of k, one after the other, each summed in
//! order. Therefore the result is the same for any number of threads, although the tasks differ.

use super::format::Format;
use super::narrow;
use super::tile::{Rows, Target, tile_shape};
use crate::Precision;
use crate::fused::simd::buffer::{Shared, with_buffer};
use crate::fused::simd::math::{dot, dot_bf16};
use crate::fused::simd::matrix::Matrix;
use crate::fused::simd::parallel::{Threads, for_each};

/// Maximum length of a block of k, in floats of packed memory. A panel of B then has 16 or 32 KiB and stays in cache.
const BLOCK_PLACES: usize = 256;
/// Maximum rows of A in a task: a block of A then stays in the L2 cache.
const TASK_ROWS: usize = 120;
/// Maximum rows and columns of C in a task whose k exceeds its m.
const LONG_ROWS: usize = 132;
const LONG_COLUMNS: usize = 256;
/// Tiles of rows in a task of a symmetric product. Fewer tiles waste less work above the diagonal.
const SYMMETRIC_TILES: usize = 3;
/// Rows that one task mirrors above the diagonal.
const MIRRORED: usize = 32;
/// Maximum steps of k for which B is packed at a time. It bounds the packing memory.
const PACKED_STEPS: usize = 4096;
/// Columns of B that one task packs.
const PACKED_COLUMNS: usize = 64;
/// Cost of packing a number, in multiplications.
const PACKING_WORK: usize = 8;
/// Maximum number of rows of A for which B is not packed: packing would cost more than it saves.
const FEW_ROWS: usize = 4;

/// Choice between replacing C and adding to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Store {
    /// Computes C = A·B.
    Replace,
    /// Computes C += A·B.
    Add,
}

/// Computes C = A·B or C += A·B, for C (m × n) in contiguous rows. `precision` sets how the operands are rounded.
pub(crate) fn gemm(a: Matrix, b: Matrix, c: &mut [f32], store: Store, precision: Precision) {
    gemm_in(Format::of(precision), a, b, c, store);
}

/// Computes [`gemm`] with operands packed in `format`.
pub(crate) fn gemm_in(format: Format, a: Matrix, b: Matrix, c: &mut [f32], store: Store) {
    gemm_into(format, a, b, Shared::new(c), store);
}

/// Computes [`gemm_in`] into a C that may be uninitialized if it is replaced.
pub(crate) fn gemm_into(format: Format, a: Matrix, b: Matrix, c: Shared, mut store: Store) {
    let (m, k, n) = (a.rows, a.columns, b.columns);
    assert!(b.rows == k && c.len() == m * n && a.is_within() && b.is_within());
    if m == 0 || n == 0 {
        return;
    }
    if k == 0 {
        if store == Store::Replace {
            // SAFETY: no task is writing C yet.
            unsafe { c.zeroed(0, c.len()) };
        }
        return;
    }
    if m <= FEW_ROWS && a.column_stride == 1 && b.row_stride == 1 {
        return few_rows(a, b, (c, n), store, format.precision());
    }
    for start in (0..k).step_by(PACKED_STEPS) {
        let steps = (start, PACKED_STEPS.min(k - start));
        let part = b.block(steps, (0, n));
        // Rows of A that reach this branch are many or not contiguous: no dot products, even for few.
        with_packed(part, m.max(FEW_ROWS + 1), format, |b| {
            b.multiply_into(a.block((0, m), steps), c, store, Threads::All)
        });
        store = Store::Add;
    }
}

/// Computes a symmetric C = A·B, such as A·Aᵀ or a product of symmetric matrices that commute. Computes the diagonal
/// and the elements below it, then mirrors them above it.
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
        // Only a packed B can be multiplied in part.
        with_packed_by(Threads::All, part, Format::Plain, |b| {
            let Operand::Packed(places) = b.operand else {
                unreachable!("B was packed")
            };
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

/// Copies the elements below the diagonal to their mirror positions above it.
fn mirror(c: &mut [f32], size: usize) {
    let tasks = size.div_ceil(MIRRORED);
    let c = Shared::new(c);
    for_each(tasks, size * size, |task| {
        let rows = task * MIRRORED..size.min((task + 1) * MIRRORED);
        for column in 0..rows.end {
            for row in rows.start.max(column + 1)..rows.end {
                // SAFETY: both elements are in C. This task alone writes the mirror image of its rows, and no task
                // writes below the diagonal.
                unsafe {
                    *c.pointer().add(column * size + row) = *c.pointer().add(row * size + column)
                };
            }
        }
    });
}

/// Multiplies a few rows of A by the contiguous columns of B, one dot product for each element of C.
fn few_rows(
    a: Matrix,
    b: Matrix,
    (c, stride): (Shared, usize),
    store: Store,
    precision: Precision,
) {
    let (k, n) = (a.columns, b.columns);
    let dot = match precision {
        Precision::F32 | Precision::Tf32 => dot,
        Precision::Bf16 => dot_bf16,
    };
    for_each(n.div_ceil(64), a.rows * k * n, |task| {
        for column in task * 64..n.min(task * 64 + 64) {
            let b = &b.data[column * b.column_stride..][..k];
            for row in 0..a.rows {
                let value = dot(&a.data[row * a.row_stride..][..k], b);
                let target = c.part(row * stride + column, 1).pointer();
                // SAFETY: the element is in C, which is read only if the product is added, and no other task has
                // these columns.
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

/// Returns the rows and columns of C in one task, for a product of m rows, k steps and n columns.
fn task_shape((m, k, n): (usize, usize, usize), format: Format) -> (usize, usize) {
    let (height, width) = (format.tile().0, tile_shape().1);
    let threads = rayon::current_num_threads();
    if m >= k {
        // Gives every thread the same number of tasks, at least two, unless that makes the tasks too small.
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
        // Gives every thread the same number of rows unless these are too few: an edge costs less than a waiting
        // thread.
        let even = row_tasks.next_multiple_of(threads);
        if height == tile_shape().0 && m >= 4 * height * even {
            return (m.div_ceil(even), columns);
        }
        let row_tasks = threads.div_ceil(column_tasks).max(row_tasks);
        // Gives every thread the same number of tasks if a few more tasks suffice for that.
        let even = (row_tasks..row_tasks + threads).find(|rows| rows * column_tasks % threads == 0);
        let row_tasks = even.unwrap_or(row_tasks);
        (m.div_ceil(row_tasks).next_multiple_of(height), columns)
    }
}

/// Splits k into blocks (start, length) of equal length without tile edges; only the last may be shorter.
fn step_blocks(k: usize, format: Format) -> impl Iterator<Item = (usize, usize)> {
    let longest = BLOCK_PLACES * format.steps_in_place();
    let length = k.div_ceil(k.div_ceil(longest));
    let length = length.next_multiple_of(format.tile().1.max(2));
    (0..k)
        .step_by(length)
        .map(move |start| (start, length.min(k - start)))
}

/// Operand B (k × n), prepared for any number of products.
pub(crate) struct PackedOperand<'p> {
    b: Matrix<'p>,
    operand: Operand<'p>,
    format: Format,
}

/// Form of an operand B.
#[derive(Clone, Copy)]
enum Operand<'p> {
    /// Packed blocks of k, one after the other, each with its panels.
    Packed(&'p [f32]),
    /// B as it is, for dot products with a few rows.
    FewRows,
    /// B as it is, for transposed products with a few dozen rows.
    Narrow,
}

/// Calls `work` with B prepared for products with `rows` rows of A in all. Packs B in parallel if these are many.
pub(crate) fn with_packed<R>(
    b: Matrix,
    rows: usize,
    format: Format,
    work: impl FnOnce(&PackedOperand) -> R,
) -> R {
    let operand = if rows <= FEW_ROWS && b.row_stride == 1 {
        Operand::FewRows
    } else if narrow::applies(rows, b, format) {
        Operand::Narrow
    } else {
        return with_packed_by(Threads::All, b, format, work);
    };
    work(&PackedOperand { b, operand, format })
}

/// Calls `work` with B packed by these threads.
pub(super) fn with_packed_by<R>(
    threads: Threads,
    b: Matrix,
    format: Format,
    work: impl FnOnce(&PackedOperand) -> R,
) -> R {
    let (k, n) = (b.rows, b.columns);
    let width = tile_shape().1;
    let padded = n.next_multiple_of(width);
    let columns = PACKED_COLUMNS.next_multiple_of(width);
    let column_tasks = n.div_ceil(columns);
    let blocks: Vec<_> = step_blocks(k, format).collect();
    with_buffer(padded * format.places(k), |packed| {
        let shared = Shared::new(packed);
        let tasks = blocks.len() * column_tasks;
        threads.for_each(tasks, PACKING_WORK * k * n, |task| {
            let (start, length) = blocks[task / column_tasks];
            let column = task % column_tasks * columns;
            let part = b.block((start, length), (column, columns.min(n - column)));
            let places = format.places(length);
            let at = format.places(start) * padded + column * places;
            // SAFETY: each part of B has its own range of the buffer.
            let packed = unsafe { shared.slice(at, part.columns.next_multiple_of(width) * places) };
            format.pack_panels(part, width, packed);
        });
        work(&PackedOperand {
            b,
            operand: Operand::Packed(packed),
            format,
        })
    })
}

impl PackedOperand<'_> {
    /// Computes C = A·B or C += A·B, for C (m × n) in contiguous rows. If B was prepared for few rows, the rows of A
    /// must be contiguous.
    pub fn multiply(&self, a: Matrix, c: &mut [f32], store: Store, threads: Threads) {
        self.multiply_into(a, Shared::new(c), store, threads);
    }

    /// Computes [`Self::multiply`] into a C that may be uninitialized if it is replaced.
    pub fn multiply_into(&self, a: Matrix, c: Shared, store: Store, threads: Threads) {
        assert!(c.len() == a.rows * self.b.columns);
        self.multiply_strided(a, (c, self.b.columns), store, threads);
    }

    /// Computes [`Self::multiply_into`] for a C whose rows are `stride` apart.
    pub fn multiply_strided(
        &self,
        a: Matrix,
        (c, stride): (Shared, usize),
        store: Store,
        threads: Threads,
    ) {
        let (m, k, n) = (a.rows, self.b.rows, self.b.columns);
        assert!(a.columns == k && a.is_within());
        if m == 0 || n == 0 {
            return;
        }
        assert!(stride >= n && c.len() >= (m - 1) * stride + n);
        let places = match self.operand {
            Operand::Packed(places) => places,
            Operand::FewRows => {
                return few_rows(a, self.b, (c, stride), store, self.format.precision());
            }
            Operand::Narrow => {
                let how = (self.format, threads);
                return narrow::multiply(a, self.b, (c, stride), store, how);
            }
        };
        let (rows, columns) = match threads {
            Threads::All => task_shape((m, k, n), self.format),
            Threads::One => (m, n),
        };
        let column_tasks = n.div_ceil(columns);
        for_each(m.div_ceil(rows) * column_tasks, m * k * n, |task| {
            let (row, column) = (task / column_tasks * rows, task % column_tasks * columns);
            let target = Target {
                // Part of C that only this task writes.
                pointer: c.pointer().wrapping_add(row * stride + column),
                stride,
                accumulate: store == Store::Add,
            };
            let a = a.block((row, rows.min(m - row)), (0, k));
            self.part(places, a, (column, columns.min(n - column)), target);
        });
    }

    /// Computes one task's rows and columns of C, block of k after block of k.
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

    /// Computes one task's rows and columns of C for one block of k.
    fn tiles(&self, a: Matrix, packed: &[f32], c: Target, columns: usize) {
        let rows = a.rows;
        let places = self.format.places(a.columns);
        assert!(a.is_within() && packed.len() >= columns * places);
        let multiply = |rows_of_a: Rows| {
            let sizes = (rows, places, columns);
            // SAFETY: the block of A was checked, B is packed for these columns, and only this task writes its part
            // of C.
            unsafe { self.format.multiply(rows_of_a, packed, c, sizes) }
        };
        self.format.with_rows(a, multiply);
    }
}
