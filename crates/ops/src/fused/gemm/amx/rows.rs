//! Packing of A for AMX tiles: bf16 pairs in blocks of [`BLOCK_ROWS`] rows by [`RUN`] pairs.
//!
//! A block is 2 KiB of contiguous memory, which the processor prefetches; rows that are far apart it does not. The
//! rounding to bf16 is the processor's instruction, which flushes subnormal numbers to 0, as the AMX product does.

use std::arch::x86_64::*;

use crate::fused::gemm::bf16_dot::pack_bf16_panels;
use crate::fused::gemm::tile::{BLOCK_ROWS, RUN, Rows};
use crate::fused::simd::buffer::with_buffer;
use crate::fused::simd::matrix::Matrix;

/// Calls `work` with A (m × k) packed into blocks: for each group of `BLOCK_ROWS` rows, its blocks along k. Requires
/// a machine with AMX.
pub(in crate::fused::gemm) fn with_blocks<R>(a: Matrix, work: impl FnOnce(*const f32) -> R) -> R {
    let (m, places) = (a.rows, a.columns.div_ceil(2));
    assert!(a.is_within());
    with_buffer(length(m, places, 1), |blocks| {
        match (a.row_stride, a.column_stride) {
            // SAFETY: A is within its data, and a machine with AMX has the instructions.
            (_, 1) => unsafe { copy_rows(a, blocks) },
            // SAFETY: as above.
            (1, _) => unsafe { turn_steps(a, blocks) },
            _ => with_buffer(m * places, |steps| {
                pack_bf16_panels(a.transposed(), m, steps);
                // SAFETY: as above.
                unsafe { turn_places(steps, (m, places), blocks) };
            }),
        }
        work(blocks.as_ptr())
    })
}

/// Returns the number of floats in the blocks of `rows` rows and `places` pairs, in `parts` parts.
pub(super) fn length(rows: usize, places: usize, parts: usize) -> usize {
    rows.next_multiple_of(BLOCK_ROWS) * places.next_multiple_of(RUN) * parts
}

/// Returns the offset, in floats, of a row within the block of run number `run`. With several parts, it is the offset
/// in the first part.
pub(super) fn place(row: usize, run: usize, places: usize, parts: usize) -> usize {
    let group = length(row / BLOCK_ROWS * BLOCK_ROWS, places, parts);
    group + (run * parts * BLOCK_ROWS + row % BLOCK_ROWS) * RUN
}

/// Returns a mask of the first `count` of 16 lanes.
pub(super) fn first(count: usize) -> __mmask16 {
    match count {
        0 => 0,
        _ => (u32::MAX >> (32 - count.min(16))) as __mmask16,
    }
}

/// Packs a matrix with contiguous rows into blocks.
///
/// # Safety
/// A lies within its data, `blocks` has room for it, and the machine has AVX-512F and AVX-512-BF16.
#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn copy_rows(a: Matrix, blocks: &mut [f32]) {
    let places = a.columns.div_ceil(2);
    for row in 0..a.rows {
        let from = a.data[row * a.row_stride..].as_ptr();
        for run in 0..places.div_ceil(RUN) {
            let start = run * 2 * RUN;
            let rest = a.columns - start;
            // SAFETY: the masks end with the row; a block has room for a full run.
            unsafe {
                let low = _mm512_maskz_loadu_ps(first(rest), from.add(start));
                let high = from.wrapping_add(start + RUN);
                let high = _mm512_maskz_loadu_ps(first(rest.saturating_sub(RUN)), high);
                let pairs = std::mem::transmute::<__m512bh, __m512>(_mm512_cvtne2ps_pbh(high, low));
                let to = blocks.as_mut_ptr().add(place(row, run, places, 1));
                _mm512_storeu_ps(to, pairs);
            }
        }
    }
}

/// Packs a matrix with contiguous columns into blocks.
///
/// # Safety
/// A lies within its data, `blocks` has room for it, and the machine has AVX-512F, BW and BF16.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn turn_steps(a: Matrix, blocks: &mut [f32]) {
    let places = a.columns.div_ceil(2);
    // Word 2i is number i of the even step, and word 2i + 1 number i of the odd step.
    let order: [i16; 32] = std::array::from_fn(|i| (i / 2 + i % 2 * 16) as i16);
    // SAFETY: 32 words are 512 bits.
    let order = unsafe { _mm512_loadu_si512(order.as_ptr().cast()) };
    for run in 0..places.div_ceil(RUN) {
        for row in (0..a.rows).step_by(RUN) {
            let mask = first(a.rows - row);
            let step = |step: usize| match step < a.columns {
                // SAFETY: the mask ends with the rows.
                true => unsafe {
                    let from = a.data.as_ptr().add(step * a.column_stride + row);
                    _mm512_maskz_loadu_ps(mask, from)
                },
                false => _mm512_setzero_ps(),
            };
            let mut lines = [_mm512_setzero_ps(); RUN];
            for (at, line) in lines.iter_mut().enumerate() {
                let even = 2 * (run * RUN + at);
                let both = _mm512_cvtne2ps_pbh(step(even + 1), step(even));
                // SAFETY: both are 512 bits of any value.
                let both = unsafe { std::mem::transmute::<__m512bh, __m512i>(both) };
                *line = _mm512_castsi512_ps(_mm512_permutexvar_epi16(order, both));
            }
            let to = blocks[place(row, run, places, 1)..].as_mut_ptr();
            // SAFETY: a block has room for the remaining rows.
            unsafe { store_transposed(lines, (to, RUN), (a.rows - row, RUN)) };
        }
    }
}

/// Transposes pairs (places, m) into blocks.
///
/// # Safety
/// `blocks` has room for them, and the machine has AVX-512F.
#[target_feature(enable = "avx512f")]
unsafe fn turn_places(steps: &[f32], (m, places): (usize, usize), blocks: &mut [f32]) {
    assert!(steps.len() == m * places);
    for run in 0..places.div_ceil(RUN) {
        for row in (0..m).step_by(RUN) {
            let from = steps.as_ptr().wrapping_add(run * RUN * m + row);
            let sizes = (places - run * RUN, m - row);
            let to = blocks[place(row, run, places, 1)..].as_mut_ptr();
            // SAFETY: the lines are within the steps, and a block has room for the remaining rows.
            unsafe { store_transposed(load_lines((from, m), sizes), (to, RUN), (m - row, RUN)) };
        }
    }
}

/// Transposes A, stored as (places, m), into contiguous rows (m, places).
///
/// # Safety
/// A has the elements, with its rows side by side, and the machine has AVX-512F.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn rows_of_steps(a: Rows, (m, places): (usize, usize), rows: &mut [f32]) {
    debug_assert!(a.row_stride == 1 && (a.tile_stride <= a.step || m <= a.tile_stride));
    assert!(rows.len() == m * places);
    for place in (0..places).step_by(RUN) {
        for row in (0..m).step_by(RUN) {
            let from = a.pointer.wrapping_add(place * a.step + row);
            let to = rows.as_mut_ptr().wrapping_add(row * places + place);
            let sizes = (places - place, m - row);
            // SAFETY: the block lies in both.
            unsafe {
                let lines = load_lines((from, a.step), sizes);
                store_transposed(lines, (to, places), (m - row, places - place));
            }
        }
    }
}

/// Loads up to 16 lines of up to 16 numbers, `stride` floats apart, and fills the missing numbers with zeros.
///
/// # Safety
/// The numbers can be read, and the machine has AVX-512F.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn load_lines(
    (from, stride): (*const f32, usize),
    (lines, numbers): (usize, usize),
) -> [__m512; RUN] {
    let mut loaded = [_mm512_setzero_ps(); RUN];
    for (at, line) in loaded.iter_mut().enumerate().take(lines) {
        // SAFETY: promised by the caller; masked lanes are not read.
        *line = unsafe { _mm512_maskz_loadu_ps(first(numbers), from.add(at * stride)) };
    }
    loaded
}

/// Transposes a block of 16 × 16 numbers and writes up to the given number of lines and of numbers in each, with the
/// lines a stride apart.
///
/// # Safety
/// The numbers can be written, and the machine has AVX-512F.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn store_transposed(
    lines: [__m512; RUN],
    (to, stride): (*mut f32, usize),
    (count, numbers): (usize, usize),
) {
    // Interleaves two lines, then four, within each quarter of a vector.
    let mut twos = lines;
    for i in 0..RUN / 2 {
        twos[2 * i] = _mm512_unpacklo_ps(lines[2 * i], lines[2 * i + 1]);
        twos[2 * i + 1] = _mm512_unpackhi_ps(lines[2 * i], lines[2 * i + 1]);
    }
    let low = |a, b| {
        let (a, b) = (_mm512_castps_pd(a), _mm512_castps_pd(b));
        _mm512_castpd_ps(_mm512_unpacklo_pd(a, b))
    };
    let high = |a, b| {
        let (a, b) = (_mm512_castps_pd(a), _mm512_castps_pd(b));
        _mm512_castpd_ps(_mm512_unpackhi_pd(a, b))
    };
    let mut fours = twos;
    for i in 0..RUN / 4 {
        let [a, b, c, d] = [0, 1, 2, 3].map(|j| twos[4 * i + j]);
        fours[4 * i] = low(a, c);
        fours[4 * i + 1] = high(a, c);
        fours[4 * i + 2] = low(b, d);
        fours[4 * i + 3] = high(b, d);
    }
    // Quarter q of fours[4i + j] has number 4q + j of lines 4i to 4i + 3.
    for j in 0..4 {
        let [a, b, c, d] = [0, 4, 8, 12].map(|i| fours[i + j]);
        let even = _mm512_shuffle_f32x4::<0x88>(a, b); // quarters 0 and 2 of both
        let odd = _mm512_shuffle_f32x4::<0xdd>(a, b); // quarters 1 and 3
        let second_even = _mm512_shuffle_f32x4::<0x88>(c, d);
        let second_odd = _mm512_shuffle_f32x4::<0xdd>(c, d);
        let quarters = [
            _mm512_shuffle_f32x4::<0x88>(even, second_even),
            _mm512_shuffle_f32x4::<0x88>(odd, second_odd),
            _mm512_shuffle_f32x4::<0xdd>(even, second_even),
            _mm512_shuffle_f32x4::<0xdd>(odd, second_odd),
        ];
        for (quarter, turned) in quarters.into_iter().enumerate() {
            let line = 4 * quarter + j;
            if line < count {
                // SAFETY: promised by the caller; masked lanes are not written.
                unsafe { _mm512_mask_storeu_ps(to.add(line * stride), first(numbers), turned) };
            }
        }
    }
}
