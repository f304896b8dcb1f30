//! Microkernel on AMX tiles: blocks of 16 × 16 sums, over 16 bf16 pairs of k at a time.
//!
//! A tile of A has 16 rows of 16 pairs, and a tile of B 16 pairs of each of 16 columns, in the layout of
//! [`bf16_dot`](crate::fused::gemm::bf16_dot). Two tiles of A and two of B give four tiles of sums: together they
//! fill the eight tiles of the processor. Edges are computed with tiles that are configured smaller: nothing is
//! padded, and nothing beyond a matrix is read or written.

#[cfg(test)]
mod emulated;
pub(super) mod rows;
pub(super) mod split;
#[cfg(test)]
mod tests;
mod tiles;

use std::ops::Range;

use self::rows::rows_of_steps;
use self::split::PARTS;
pub(in crate::fused) use self::tiles::is_there;
use self::tiles::{Configuration, PLACE, SIDE, clear, load, multiply_tiles, release, store};
use crate::fused::gemm::tile::{BLOCK_ROWS, RUN, Rows, Target};
use crate::fused::simd::buffer::with_buffer;

/// Rows and columns of a full block of C: two tiles. It is also the number of columns in a panel of B.
const PAIR: usize = 2 * SIDE;
const _: () = assert!(RUN == SIDE && BLOCK_ROWS == PAIR);

/// Groups of at most two tiles along one dimension of C. All groups of a span have the same lengths.
struct Span {
    groups: Range<usize>,
    /// Rows or columns of the group's two tiles; the second may be 0.
    lengths: [usize; 2],
}

/// Splits a dimension into full groups of two tiles and a smaller remainder.
fn spans(length: usize) -> impl Iterator<Item = Span> {
    let (groups, rest) = (length / PAIR, length % PAIR);
    let whole = Span {
        groups: 0..groups,
        lengths: [SIDE; 2],
    };
    let edge = Span {
        groups: groups..length.div_ceil(PAIR),
        lengths: [rest.min(SIDE), rest.saturating_sub(SIDE)],
    };
    [whole, edge]
        .into_iter()
        .filter(|span| !span.groups.is_empty())
}

/// Number of bf16 parts that each operand is stored as, and the pairs of parts (of A, of B) that are multiplied.
pub(super) trait Parts {
    const COUNT: usize;
    /// Pairs (part of A, part of B) in the order of computation. Consecutive pairs share a part, which stays in its
    /// tiles.
    const PAIRS: &'static [(usize, usize)];
}

/// Operands rounded to bf16, stored as one part.
pub(super) struct Rounded;

impl Parts for Rounded {
    const COUNT: usize = 1;
    const PAIRS: &'static [(usize, usize)] = &[(0, 0)];
}

/// f32 operands split into three bf16 parts by [`split`].
pub(super) struct Split;

impl Parts for Split {
    const COUNT: usize = PARTS;
    const PAIRS: &'static [(usize, usize)] = &[(2, 0), (1, 0), (1, 1), (0, 1), (0, 0), (0, 2)];
}

/// Number of bf16 products that one product of split numbers takes.
pub(super) const PRODUCTS_OF_SPLIT: usize = Split::PAIRS.len();

/// Computes C = A·B for `m` rows, `n` columns and `places` bf16 pairs of k, laid out as for
/// [`multiply_bf16_pairs`](crate::fused::gemm::bf16_dot::multiply_bf16_pairs), or with A in blocks. The order in
/// which an element of C is summed depends on `places` alone.
///
/// # Safety
/// Same contract as `multiply_bf16_pairs`, on a machine where [`is_there`] is true.
pub(super) unsafe fn multiply(
    a: Rows,
    b: &[f32],
    c: Target,
    (m, places, n): (usize, usize, usize),
) {
    if a.step == 1 {
        // SAFETY: promised by the caller.
        return unsafe { multiply_rows::<Rounded>(a, b, c, (m, places, n)) };
    }
    with_buffer(m * places, |rows| {
        // SAFETY: promised by the caller.
        unsafe {
            rows_of_steps(a, (m, places), rows);
            let rows = Rows::contiguous(rows.as_ptr(), places);
            multiply_rows::<Rounded>(rows, b, c, (m, places, n));
        }
    });
}

/// Computes C = A·B, for A in contiguous rows of one part or in blocks, and B in panels, with `places` pairs in each
/// part.
///
/// # Safety
/// Same contract as [`multiply`].
pub(super) unsafe fn multiply_rows<P: Parts>(
    a: Rows,
    b: &[f32],
    c: Target,
    (m, places, n): (usize, usize, usize),
) {
    debug_assert!(b.len() >= n.div_ceil(PAIR) * P::COUNT * places * PAIR);
    let (whole, rest) = (places / SIDE, places % SIDE);
    for (run, runs, depth) in [(0, whole, SIDE), (whole, 1, rest)] {
        if runs == 0 || depth == 0 {
            continue;
        }
        let b = Panels {
            pointer: b.as_ptr().wrapping_add(run * SIDE * P::COUNT * PAIR),
            stride: P::COUNT * places * PAIR,
            depth,
        };
        let a = Rows {
            pointer: a.pointer.wrapping_add(run * a.run),
            ..a
        };
        let c = Target {
            accumulate: c.accumulate || run > 0,
            ..c
        };
        for rows in spans(m) {
            for columns in spans(n) {
                // SAFETY: rows and columns lie within the matrices, and the runs within `places`.
                unsafe { region::<P>(a, b, c, (&rows, &columns), runs) };
            }
        }
    }
    // SAFETY: the machine has the tiles.
    unsafe { release() };
}

/// B, packed into panels of `PAIR` columns.
#[derive(Clone, Copy)]
struct Panels {
    pointer: *const f32,
    /// Distance between panels, in floats.
    stride: usize,
    /// Number of bf16 pairs of k in a run.
    depth: usize,
}

/// Computes all blocks of C that have the same height and width, over `runs` runs of pairs.
///
/// # Safety
/// Same contract as [`multiply`].
unsafe fn region<P: Parts>(
    a: Rows,
    b: Panels,
    c: Target,
    (rows, columns): (&Span, &Span),
    runs: usize,
) {
    // Contiguous rows are tiled at another height than blocks.
    let group_stride = match a.run {
        RUN => PAIR * a.row_stride,
        _ => a.tile_stride,
    };
    let block = match (rows.lengths[1], columns.lengths[1]) {
        (0, 0) => block::<P, 1, 1>,
        (0, _) => block::<P, 1, 2>,
        (_, 0) => block::<P, 2, 1>,
        _ => block::<P, 2, 2>,
    };
    // SAFETY: the caller promises the machine and the matrices.
    unsafe {
        Configuration::of(rows.lengths, b.depth, columns.lengths).load();
        for panel in columns.groups.clone() {
            for group in rows.groups.clone() {
                let a = Rows {
                    pointer: a.pointer.add(group * group_stride),
                    ..a
                };
                let b = Panels {
                    pointer: b.pointer.add(panel * b.stride),
                    ..b
                };
                let c = Target {
                    pointer: c.pointer.add(group * PAIR * c.stride + panel * PAIR),
                    ..c
                };
                block(a, b, c, runs);
            }
        }
    }
}

/// Computes a block of `A` × `B` tiles of C, over `runs` runs of pairs.
///
/// # Safety
/// The tiles are configured for these sizes, and the matrices have the elements.
#[inline(always)]
unsafe fn block<P: Parts, const A: usize, const B: usize>(
    a: Rows,
    b: Panels,
    c: Target,
    runs: usize,
) {
    let (a_bytes, c_bytes) = (a.row_stride * PLACE, c.stride * PLACE);
    let below = c.pointer.wrapping_add(SIDE * c.stride);
    // SAFETY: promised by the caller; a second tile is used only where there is one.
    unsafe {
        if c.accumulate {
            load::<0>(c.pointer, c_bytes);
            if B == 2 {
                load::<1>(c.pointer.add(SIDE), c_bytes);
            }
            if A == 2 {
                load::<2>(below, c_bytes);
            }
            if A == 2 && B == 2 {
                load::<3>(below.add(SIDE), c_bytes);
            }
        } else {
            clear::<0>();
            if B == 2 {
                clear::<1>();
            }
            if A == 2 {
                clear::<2>();
            }
            if A == 2 && B == 2 {
                clear::<3>();
            }
        }
        for run in 0..runs {
            let a_run = a.pointer.add(run * a.run);
            let b_run = b.pointer.add(run * P::COUNT * SIDE * PAIR);
            let mut loaded = (P::COUNT, P::COUNT);
            for &(a_part, b_part) in P::PAIRS {
                let first = a_run.add(a_part * BLOCK_ROWS * RUN);
                let left = b_run.add(b_part * b.depth * PAIR);
                let (new_a, new_b) = (a_part != loaded.0, b_part != loaded.1);
                loaded = (a_part, b_part);
                if new_a {
                    load::<4>(first, a_bytes);
                }
                if new_b {
                    load::<6>(left, PAIR * PLACE);
                }
                multiply_tiles::<0, 4, 6>();
                if B == 2 {
                    if new_b {
                        load::<7>(left.add(SIDE), PAIR * PLACE);
                    }
                    multiply_tiles::<1, 4, 7>();
                }
                if A == 2 {
                    if new_a {
                        load::<5>(first.add(SIDE * a.row_stride), a_bytes);
                    }
                    multiply_tiles::<2, 5, 6>();
                }
                if A == 2 && B == 2 {
                    multiply_tiles::<3, 5, 7>();
                }
            }
        }
        store::<0>(c.pointer, c_bytes);
        if B == 2 {
            store::<1>(c.pointer.add(SIDE), c_bytes);
        }
        if A == 2 {
            store::<2>(below, c_bytes);
        }
        if A == 2 && B == 2 {
            store::<3>(below.add(SIDE), c_bytes);
        }
    }
}

/// Multiply-adds in one round of [`spin`].
pub(super) const SPIN: usize = 4 * SIDE * SIDE * 2 * SIDE;

/// Multiplies tiles without loading or storing, to measure the peak rate.
///
/// # Safety
/// The machine has AMX: [`is_there`] is true.
pub(super) unsafe fn spin(rounds: usize) {
    // SAFETY: promised by the caller; every tile is configured.
    unsafe {
        Configuration::of([SIDE; 2], SIDE, [SIDE; 2]).load(); // all tiles are 0 now
        for _ in 0..rounds {
            multiply_tiles::<0, 4, 6>();
            multiply_tiles::<1, 4, 7>();
            multiply_tiles::<2, 5, 6>();
            multiply_tiles::<3, 5, 7>();
        }
        release();
    }
}
