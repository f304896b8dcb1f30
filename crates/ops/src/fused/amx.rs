//! Matrix products on the tiles of AMX: sums of 16 × 16 elements, over 16 places of pairs at a time.
//!
//! A tile of A is 16 rows of 16 places, one of B 16 places of 16 columns, just as [`pairs`](super::pairs) packs them.
//! Two of each make four sums, which fill the eight tiles that there are. What is left at an edge is computed by tiles
//! that are configured smaller: nothing is padded, and nothing beyond a matrix is touched.
//!
//! The intrinsics are not stable in Rust; the instructions are written out, and the compiler knows nothing of the
//! tiles. They are configured, used and released within one call, in which nothing else can run on the thread.

use std::arch::asm;
use std::arch::x86_64::__cpuid_count;
use std::ops::Range;
use std::sync::OnceLock;

use super::amx_rows::rows_of_steps;
use super::buffer::with_buffer;
use super::kernel::{BLOCK_ROWS, RUN, Rows, Target};
use super::level::has_bf16_dot;

/// Rows, places and columns of a whole tile.
const SIDE: usize = 16;
/// Rows and columns of a whole block of C, and columns of a panel of B.
const PAIR: usize = 2 * SIDE;
const _: () = assert!(RUN == SIDE && BLOCK_ROWS == PAIR);
/// Bytes of a place.
const PLACE: usize = size_of::<f32>();

/// Whether the machine has the tiles and their bf16 product, and the system lends them to this process. The
/// environment variable `POLYMATH_AMX=0` says no. Found once.
pub(super) fn is_there() -> bool {
    static THERE: OnceLock<bool> = OnceLock::new();
    *THERE.get_or_init(|| {
        let refused = std::env::var_os("POLYMATH_AMX").is_some_and(|value| value == "0");
        !refused && has_bf16_dot() && is_in_processor() && is_lent()
    })
}

fn is_in_processor() -> bool {
    const TILES_AND_BF16: u32 = 1 << 24 | 1 << 22;
    // A processor with the bf16 dot product has leaf 7.
    let words = is_x86_feature_detected!("avx512bw");
    words && __cpuid_count(7, 0).edx & TILES_AND_BF16 == TILES_AND_BF16
}

/// Asks the system for the tiles: a thread carries 8 KiB more of state once it has used them.
#[cfg(target_os = "linux")]
fn is_lent() -> bool {
    const ARCH_PRCTL: i64 = 158;
    const REQUEST_PERMISSION: i64 = 0x1023;
    const TILE_DATA: i64 = 18;
    let result: i64;
    // SAFETY: the system call has two numbers as arguments, and touches no memory of ours; a system that does not
    // know the request answers with an error.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") ARCH_PRCTL => result,
            in("rdi") REQUEST_PERMISSION,
            in("rsi") TILE_DATA,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack)
        );
    }
    result == 0
}

#[cfg(not(target_os = "linux"))]
fn is_lent() -> bool {
    false
}

/// What a tile is configured to: bytes in a row, and rows.
#[repr(C, align(64))]
struct Configuration {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

impl Configuration {
    /// Tiles 0 to 3 are the sums, 4 and 5 are of A, 6 and 7 of B; those without rows or columns are not to be used.
    fn of(heights: [usize; 2], depth: usize, widths: [usize; 2]) -> Self {
        let mut configuration = Self {
            palette: 1,
            start_row: 0,
            reserved: [0; 14],
            row_bytes: [0; 16],
            rows: [0; 16],
        };
        let mut tile = |number: usize, rows: usize, columns: usize| {
            if rows > 0 && columns > 0 {
                configuration.rows[number] = rows as u8;
                configuration.row_bytes[number] = (columns * PLACE) as u16;
            }
        };
        for (i, height) in heights.into_iter().enumerate() {
            tile(4 + i, height, depth);
            for (j, width) in widths.into_iter().enumerate() {
                tile(2 * i + j, height, width);
            }
        }
        for (j, width) in widths.into_iter().enumerate() {
            tile(6 + j, depth, width);
        }
        configuration
    }

    /// # Safety
    /// On a machine that [`is_there`]; the sizes are at most [`SIDE`].
    unsafe fn load(&self) {
        // SAFETY: promised by the caller; the configuration is 64 bytes.
        unsafe {
            asm!("ldtilecfg [{}]", in(reg) self, options(nostack, preserves_flags, readonly))
        };
    }
}

/// # Safety
/// On a machine that [`is_there`].
unsafe fn release() {
    // SAFETY: promised by the caller.
    unsafe { asm!("tilerelease", options(nostack, preserves_flags, nomem)) };
}

/// # Safety
/// The tile is configured.
#[inline(always)]
unsafe fn clear<const TILE: usize>() {
    // SAFETY: promised by the caller.
    unsafe {
        asm!("tilezero tmm{tile}", tile = const TILE, options(nostack, preserves_flags, nomem))
    };
}

/// # Safety
/// The tile is configured, and from `from` on its rows are `stride` bytes apart.
#[inline(always)]
unsafe fn load<const TILE: usize>(from: *const f32, stride: usize) {
    // SAFETY: promised by the caller.
    unsafe {
        asm!(
            "tileloadd tmm{tile}, [{from} + {stride}]",
            tile = const TILE,
            from = in(reg) from,
            stride = in(reg) stride,
            options(nostack, preserves_flags, readonly)
        );
    }
}

/// # Safety
/// The tile is configured, and its rows go `stride` bytes apart from `to` on.
#[inline(always)]
unsafe fn store<const TILE: usize>(to: *mut f32, stride: usize) {
    // SAFETY: promised by the caller.
    unsafe {
        asm!(
            "tilestored [{to} + {stride}], tmm{tile}",
            tile = const TILE,
            to = in(reg) to,
            stride = in(reg) stride,
            options(nostack, preserves_flags)
        );
    }
}

/// C += A·B.
///
/// # Safety
/// The tiles are configured to fit each other.
#[inline(always)]
unsafe fn multiply_tiles<const C: usize, const A: usize, const B: usize>() {
    // SAFETY: promised by the caller.
    unsafe {
        asm!(
            "tdpbf16ps tmm{c}, tmm{a}, tmm{b}",
            c = const C,
            a = const A,
            b = const B,
            options(nostack, preserves_flags, nomem)
        );
    }
}

/// Equal groups of up to two tiles along one side of C.
struct Span {
    groups: Range<usize>,
    /// Of the two tiles; the second may have none.
    lengths: [usize; 2],
}

/// A side in whole groups, and what remains of it.
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

/// C = A·B for `m` rows, `n` columns and `places` places of pairs, laid out as for
/// [`multiply_pairs`](super::pairs::multiply_pairs), or with A in blocks. The order of an element's sum depends on the
/// places alone.
///
/// # Safety
/// As there, on a machine that [`is_there`].
pub(super) unsafe fn multiply(
    a: Rows,
    b: &[f32],
    c: Target,
    (m, places, n): (usize, usize, usize),
) {
    debug_assert!(b.len() >= n.div_ceil(PAIR) * places * PAIR);
    if a.step == 1 {
        // SAFETY: promised by the caller.
        return unsafe { multiply_rows(a, b, c, (m, places, n)) };
    }
    with_buffer(m * places, |rows| {
        // SAFETY: promised by the caller.
        unsafe {
            rows_of_steps(a, (m, places), rows);
            let rows = Rows::contiguous(rows.as_ptr(), places);
            multiply_rows(rows, b, c, (m, places, n));
        }
    });
}

/// [`multiply`] for A in contiguous rows or in blocks.
///
/// # Safety
/// As there.
unsafe fn multiply_rows(a: Rows, b: &[f32], c: Target, (m, places, n): (usize, usize, usize)) {
    // Contiguous rows come in tiles of another height.
    let group_stride = match a.run {
        RUN => PAIR * a.row_stride,
        _ => a.tile_stride,
    };
    let (whole, rest) = (places / SIDE, places % SIDE);
    for (run, runs, depth) in [(0, whole, SIDE), (whole, 1, rest)] {
        if runs == 0 || depth == 0 {
            continue;
        }
        for rows in spans(m) {
            for columns in spans(n) {
                let block = match (rows.lengths[1], columns.lengths[1]) {
                    (0, 0) => block::<1, 1>,
                    (0, _) => block::<1, 2>,
                    (_, 0) => block::<2, 1>,
                    _ => block::<2, 2>,
                };
                // SAFETY: the machine has the tiles, as the caller promises.
                unsafe { Configuration::of(rows.lengths, depth, columns.lengths).load() };
                for panel in columns.groups.clone() {
                    for group in rows.groups.clone() {
                        // SAFETY: rows and columns of the block lie in the matrices, and the runs within `places`.
                        unsafe {
                            let a = Rows {
                                pointer: a.pointer.add(group * group_stride + run * a.run),
                                ..a
                            };
                            let b = b.as_ptr().add((panel * places + run * SIDE) * PAIR);
                            let corner = group * PAIR * c.stride + panel * PAIR;
                            let c = Target {
                                pointer: c.pointer.add(corner),
                                accumulate: c.accumulate || run > 0,
                                ..c
                            };
                            block(a, b, c, runs);
                        }
                    }
                }
            }
        }
    }
    // SAFETY: the machine has the tiles.
    unsafe { release() };
}

/// A block of `A` × `B` tiles of C, over so many runs of places.
///
/// # Safety
/// The tiles are configured, and the matrices have their elements.
#[inline(always)]
unsafe fn block<const A: usize, const B: usize>(a: Rows, b: *const f32, c: Target, runs: usize) {
    let (a_bytes, c_bytes) = (a.row_stride * PLACE, c.stride * PLACE);
    let below = c.pointer.wrapping_add(SIDE * c.stride);
    // SAFETY: promised by the caller; a second tile is touched only where there is one.
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
            let b = b.add(run * SIDE * PAIR);
            let first = a.pointer.add(run * a.run);
            load::<4>(first, a_bytes);
            load::<6>(b, PAIR * PLACE);
            multiply_tiles::<0, 4, 6>();
            if B == 2 {
                load::<7>(b.add(SIDE), PAIR * PLACE);
                multiply_tiles::<1, 4, 7>();
            }
            if A == 2 {
                load::<5>(first.add(SIDE * a.row_stride), a_bytes);
                multiply_tiles::<2, 5, 6>();
            }
            if A == 2 && B == 2 {
                multiply_tiles::<3, 5, 7>();
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

/// Multiply-adds of one round of [`spin`].
pub(super) const SPIN: usize = 4 * SIDE * SIDE * 2 * SIDE;

/// Products that never leave the tiles.
///
/// # Safety
/// On a machine that [`is_there`].
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
