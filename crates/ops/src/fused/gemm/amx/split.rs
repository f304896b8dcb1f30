//! Split of f32 numbers for AMX tiles into three bf16 parts whose sum is the number.
//!
//! The 24 significant bits of a number are cut into 8 + 8 + 8, each of which a bf16 holds exactly. Two numbers have
//! nine products of parts, of which six are computed. The other three add up to less than 2⁻²¹ of the full product,
//! and to 2⁻²⁴ on average. The result is as exact as f32, and the tiles compute it at twice the rate of f32
//! multiply-adds (Henry, Tang and Heinecke 2019, "Leveraging the bfloat16 artificial intelligence datatype for
//! higher-precision computations").
//!
//! Two differences from f32: an infinity has no remainder and comes out as NaN, and a part below the smallest normal
//! number (from a number below 2⁻¹¹⁰) counts as 0.

use std::arch::x86_64::*;

use super::rows::{first, length, load_lines, place, store_transposed};
use crate::fused::gemm::tile::{BLOCK_ROWS, RUN};
use crate::fused::simd::buffer::with_buffer;
use crate::fused::simd::matrix::Matrix;

/// Number of parts of a number.
pub(in crate::fused::gemm) const PARTS: usize = 3;
/// Number of steps of k in a run of pairs.
const RUN_STEPS: usize = 2 * RUN;
/// Columns in a panel of B.
const PANEL: usize = 32;

/// Calls `work` with A (m × k) split and packed into blocks, the parts of a run one after the other. Requires a
/// machine with AMX.
pub(in crate::fused::gemm) fn with_blocks<R>(a: Matrix, work: impl FnOnce(*const f32) -> R) -> R {
    assert!(a.is_within());
    let places = a.columns.div_ceil(2);
    with_buffer(length(a.rows, places, PARTS), |blocks| {
        for_each_unit(a, |line, run, unit| {
            let to = Area {
                pointer: blocks[place(line, run, places, PARTS)..].as_mut_ptr(),
                stride: RUN,
                part: BLOCK_ROWS * RUN,
            };
            // SAFETY: the machine has the instructions, and a block has room for all of a run.
            unsafe { split_unit(unit, Order::Lines, to) };
        });
        work(blocks.as_ptr())
    })
}

/// Splits B (k × n) and packs it into panels, in the order panel, run, part, pair, column. Requires a machine with
/// AMX.
pub(in crate::fused::gemm) fn pack_panels(b: Matrix, packed: &mut [f32]) {
    let places = b.rows.div_ceil(2);
    assert!(b.is_within() && packed.len() >= b.columns.next_multiple_of(PANEL) * places * PARTS);
    for_each_unit(b.transposed(), |line, run, unit| {
        let depth = unit.columns.div_ceil(2);
        let at = (line / PANEL * places + run * RUN) * PARTS * PANEL + line % PANEL;
        let to = Area {
            pointer: packed[at..].as_mut_ptr(),
            stride: PANEL,
            part: depth * PANEL,
        };
        // SAFETY: the machine has the instructions, and half of a panel is as wide as a unit has lines.
        unsafe { split_unit(unit, Order::Places, to) };
    });
}

/// Calls `work(line, run, unit)` for each unit of up to `RUN` lines by one run of steps, in the order in which they
/// lie in memory.
fn for_each_unit(lines: Matrix, mut work: impl FnMut(usize, usize, Matrix)) {
    let runs = lines.columns.div_ceil(RUN_STEPS);
    let units = lines.rows.div_ceil(RUN);
    for at in 0..runs * units {
        let (unit, run) = match lines.column_stride {
            1 => (at / runs, at % runs),
            _ => (at % units, at / units),
        };
        let (line, step) = (unit * RUN, run * RUN_STEPS);
        let rows = (line, RUN.min(lines.rows - line));
        let steps = (step, RUN_STEPS.min(lines.columns - step));
        work(line, run, lines.block(rows, steps));
    }
}

/// Layout of a unit in memory: the pairs of each line side by side (`Lines`), or the lines of each pair (`Places`).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    Lines,
    Places,
}

/// Destination of the parts of a unit, with the strides between lines (or pairs) and between parts, in floats.
#[derive(Clone, Copy)]
struct Area {
    pointer: *mut f32,
    stride: usize,
    part: usize,
}

impl Area {
    /// Stores 16 floats of each part at index `at`.
    ///
    /// # Safety
    /// There is room for 16 floats of each part, and the machine has AVX-512F.
    #[target_feature(enable = "avx512f")]
    unsafe fn put(self, at: usize, parts: [__m512; PARTS]) {
        for (part, numbers) in parts.into_iter().enumerate() {
            // SAFETY: promised by the caller.
            unsafe {
                let to = self.pointer.add(part * self.part + at * self.stride);
                _mm512_storeu_ps(to, numbers);
            }
        }
    }
}

/// Splits up to 16 lines of up to 32 steps and writes their three parts.
///
/// # Safety
/// `to` has room for 16 pairs of each line, or for 16 lines of each pair, by `order`. The unit is within its data,
/// and the machine has AVX-512F and BW.
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn split_unit(unit: Matrix, order: Order, to: Area) {
    let (lines, places) = (unit.rows, unit.columns.div_ceil(2));
    let (order_in, count) = match (unit.row_stride, unit.column_stride) {
        (_, 1) => (Order::Lines, lines),
        (1, _) => (Order::Places, places),
        _ => {
            let mut copy = [0.0; RUN * RUN_STEPS];
            for (line, copy) in copy.chunks_exact_mut(RUN_STEPS).take(lines).enumerate() {
                for (step, copy) in copy.iter_mut().take(unit.columns).enumerate() {
                    *copy = unit.data[line * unit.row_stride + step * unit.column_stride];
                }
            }
            let copy = Matrix::new(&copy, RUN, RUN_STEPS).block((0, lines), (0, unit.columns));
            // SAFETY: the copy has the same numbers and the same destination.
            return unsafe { split_unit(copy, order, to) };
        }
    };
    // SAFETY: the unit is within its data, and the caller promises the room. A unit in the other order is first
    // written to a buffer that has room for a whole unit.
    unsafe {
        if order_in == order {
            return split_lying(unit, order, to);
        }
        with_buffer(PARTS * RUN * RUN, |buffer| {
            let between = Area {
                pointer: buffer.as_mut_ptr(),
                stride: RUN,
                part: RUN * RUN,
            };
            split_lying(unit, order_in, between);
            let turned = lines + places - count;
            for part in 0..PARTS {
                let from = between.pointer.add(part * between.part);
                let vectors = load_lines((from, RUN), (count, RUN));
                let turned_to = to.pointer.add(part * to.part);
                store_transposed(vectors, (turned_to, to.stride), (turned, RUN));
            }
        });
    }
}

/// Splits a unit and writes it in the order in which its numbers lie.
///
/// # Safety
/// Same contract as [`split_unit`].
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn split_lying(unit: Matrix, order: Order, to: Area) {
    let from = unit.data.as_ptr();
    let step = |step: usize| match step < unit.columns {
        // SAFETY: the mask ends with the lines.
        true => unsafe {
            _mm512_maskz_loadu_ps(first(unit.rows), from.add(step * unit.column_stride))
        },
        false => _mm512_setzero_ps(),
    };
    let line = |line: usize| {
        let from = from.wrapping_add(line * unit.row_stride);
        let masks = [unit.columns, unit.columns.saturating_sub(RUN)].map(first);
        // SAFETY: the masks end with the line.
        unsafe {
            [
                _mm512_maskz_loadu_ps(masks[0], from),
                _mm512_maskz_loadu_ps(masks[1], from.wrapping_add(RUN)),
            ]
        }
    };
    match order {
        Order::Lines => {
            for at in 0..unit.rows {
                // SAFETY: the caller promises the room.
                unsafe { to.put(at, neighbors(line(at))) };
            }
        }
        Order::Places => {
            for at in 0..unit.columns.div_ceil(2) {
                // SAFETY: the caller promises the room.
                unsafe { to.put(at, paired([step(2 * at), step(2 * at + 1)])) };
            }
        }
    }
}

/// Mask of the sign, the exponent and the first 8 significant bits: the part of an f32 that a bf16 holds.
const UPPER: i32 = 0xffff_0000_u32 as i32;

/// Splits 16 numbers into three parts, each in the upper half of its 32-bit word. The lower half may hold anything.
#[target_feature(enable = "avx512f")]
fn parts(numbers: __m512) -> [__m512; PARTS] {
    let upper = _mm512_set1_epi32(UPPER);
    let head = |numbers: __m512| {
        _mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(numbers), upper))
    };
    // Both differences are exact.
    let high = head(numbers);
    let rest = _mm512_sub_ps(numbers, high);
    let middle = head(rest);
    [high, middle, _mm512_sub_ps(rest, middle)]
}

/// Splits two steps of 16 lines, and joins the parts of each line into a pair.
#[target_feature(enable = "avx512f")]
fn paired([even, odd]: [__m512; 2]) -> [__m512; PARTS] {
    const UPPER_OF_B_OR_A: i32 = 0xf8; // a | b & c
    let (even, odd) = (parts(even), parts(odd));
    let upper = _mm512_set1_epi32(UPPER);
    let mut places = even;
    for part in 0..PARTS {
        let even = _mm512_srli_epi32::<16>(_mm512_castps_si512(even[part]));
        let odd = _mm512_castps_si512(odd[part]);
        let both = _mm512_ternarylogic_epi32::<UPPER_OF_B_OR_A>(even, odd, upper);
        places[part] = _mm512_castsi512_ps(both);
    }
    places
}

/// Splits 32 consecutive steps of one line, and joins the parts of neighbors into pairs.
#[target_feature(enable = "avx512f,avx512bw")]
fn neighbors([low, high]: [__m512; 2]) -> [__m512; PARTS] {
    let order: [i16; 32] = std::array::from_fn(|i| (2 * i + 1) as i16);
    // SAFETY: 32 words are 512 bits.
    let order = unsafe { _mm512_loadu_si512(order.as_ptr().cast()) };
    let (low, high) = (parts(low), parts(high));
    let mut places = low;
    for part in 0..PARTS {
        let [low, high] = [low[part], high[part]].map(|part| _mm512_castps_si512(part));
        places[part] = _mm512_castsi512_ps(_mm512_permutex2var_epi16(low, order, high));
    }
    places
}
