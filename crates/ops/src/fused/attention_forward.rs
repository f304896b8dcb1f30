//! The forward pass of one attention head: tiles of scores, with a softmax that is kept up as keys come in.

use super::attention::{Head, Shapes};
use super::buffer::{Shared, with_buffer};
use super::kernel::{Rows, Target, multiply_packed, tile_shape};
use super::lanes::{LANES, exp, multiply_add, round_in_place, sum_lanes};
use super::level::vectorised;
use crate::{Precision, Segments};

/// Queries and keys of a tile; keys are a multiple of every panel's width.
pub(super) const QUERIES: usize = 48;
pub(super) const KEYS: usize = 64;

/// One head of queries in one row.
pub(super) struct ForwardHead<'a> {
    q: Head<'a>,
    k: Head<'a>,
    v: Head<'a>,
    row: usize,
    scale: f32,
    segments: &'a Segments,
    precision: Precision,
}

/// Copies `count` positions from `start` on, side by side.
pub(super) fn copy_positions(
    head: Head,
    (start, count): (usize, usize),
    precision: Precision,
    copy: &mut [f32],
) {
    for (position, copy) in copy.chunks_exact_mut(head.width).take(count).enumerate() {
        copy.copy_from_slice(head.at(start + position));
    }
    if precision == Precision::Bf16 {
        round_in_place(&mut copy[..count * head.width]);
    }
}

/// Packs `count` contiguous rows as the columns of B, d being the steps: for products with transposed rows.
pub(super) fn pack_columns(rows: &[f32], count: usize, width: usize, packed: &mut [f32]) {
    let panel_width = tile_shape().1;
    for (panel, packed) in packed
        .chunks_exact_mut(width * panel_width)
        .take(count.div_ceil(panel_width))
        .enumerate()
    {
        for column in 0..panel_width {
            let position = panel * panel_width + column;
            if position < count {
                let row = &rows[position * width..(position + 1) * width];
                for (p, x) in row.iter().enumerate() {
                    packed[p * panel_width + column] = *x;
                }
            } else {
                packed
                    .iter_mut()
                    .skip(column)
                    .step_by(panel_width)
                    .for_each(|x| *x = 0.0);
            }
        }
    }
}

/// Packs `count` contiguous rows as the steps of B, d being the columns.
pub(super) fn pack_steps(rows: &[f32], count: usize, width: usize, packed: &mut [f32]) {
    let panel_width = tile_shape().1;
    for (panel, packed) in packed
        .chunks_exact_mut(count * panel_width)
        .take(width.div_ceil(panel_width))
        .enumerate()
    {
        let start = panel * panel_width;
        let columns = panel_width.min(width - start);
        for (position, packed) in packed.chunks_exact_mut(panel_width).enumerate() {
            packed[..columns].copy_from_slice(&rows[position * width + start..][..columns]);
            packed[columns..].fill(0.0);
        }
    }
}

/// Floats that [`pack_columns`] or [`pack_steps`] may need for `count` rows.
pub(super) fn packed_length(count: usize, width: usize) -> usize {
    let panel_width = tile_shape().1;
    count.next_multiple_of(panel_width) * width.next_multiple_of(panel_width)
}

/// C = A·B, or C += A·B, for contiguous rows of A (m × k) and packed B (k × n), with C's rows `n` apart.
pub(super) fn multiply(
    a: &[f32],
    b: &[f32],
    c: &mut [f32],
    accumulate: bool,
    (m, k, n): (usize, usize, usize),
) {
    assert!(a.len() >= m * k && b.len() >= k * n && c.len() >= m * n);
    let target = Target {
        pointer: c.as_mut_ptr(),
        stride: n,
        accumulate,
    };
    // SAFETY: the lengths were checked, and B's panels are whole.
    unsafe { multiply_packed(Rows::contiguous(a.as_ptr(), k), b, target, (m, k, n)) }
}

vectorised! {
    /// Turns the scores of the visible keys into e^(scale·score − largest), and the others into 0. The new largest
    /// and the sum are returned.
    fn softmax_step(scores: &mut [f32], visible: (usize, usize), scale: f32, before: f32) -> (f32, f32) {
        let (start, end) = visible;
        scores[..start].fill(0.0);
        scores[end..].fill(0.0);
        let scores = &mut scores[start..end];
        let mut lanes = [before; LANES];
        let (chunks, rest) = scores.as_chunks::<LANES>();
        for chunk in chunks {
            for lane in 0..LANES {
                let score = chunk[lane] * scale;
                lanes[lane] = if score > lanes[lane] { score } else { lanes[lane] };
            }
        }
        for (lane, score) in rest.iter().enumerate() {
            let score = score * scale;
            lanes[lane] = if score > lanes[lane] { score } else { lanes[lane] };
        }
        let largest = lanes.iter().fold(before, |a, &b| if b > a { b } else { a });
        let mut sums = [0f32; LANES];
        let (chunks, rest) = scores.as_chunks_mut::<LANES>();
        for chunk in chunks {
            for lane in 0..LANES {
                chunk[lane] = exp::<FMA>(multiply_add::<FMA>(chunk[lane], scale, -largest));
                sums[lane] += chunk[lane];
            }
        }
        for (lane, score) in rest.iter_mut().enumerate() {
            *score = exp::<FMA>(multiply_add::<FMA>(*score, scale, -largest));
            sums[lane] += *score;
        }
        (largest, sum_lanes(sums))
    }

    /// values·factor, from one slice to another.
    fn times(from: &[f32], factor: f32, to: &mut [f32]) {
        for (to, from) in to.iter_mut().zip(from) {
            *to = from * factor;
        }
        let _ = FMA;
    }

    fn scale_in_place(values: &mut [f32], factor: f32) {
        for value in values {
            *value *= factor;
        }
        let _ = FMA;
    }
}

/// The keys that any of `queries` sees.
pub(super) fn visible_to(
    segments: &Segments,
    row: usize,
    queries: std::ops::Range<usize>,
) -> (usize, usize) {
    let mut bounds = (usize::MAX, 0);
    for query in queries {
        let visible = segments.visible(row, query);
        bounds = (bounds.0.min(visible.start), bounds.1.max(visible.end));
    }
    bounds
}

/// The part of a query's visible keys that lies in the tile from `start` on, relative to it.
pub(super) fn in_tile(
    visible: std::ops::Range<usize>,
    start: usize,
    count: usize,
) -> (usize, usize) {
    let end = visible.end.clamp(start, start + count) - start;
    let begin = visible.start.clamp(start, start + count) - start;
    (begin.min(end), end)
}

/// The keys and values of a head, packed tile by tile.
struct PackedKeys<'b> {
    keys: &'b [f32],
    values: &'b [f32],
    tile_length: usize,
    count: usize,
}

impl<'a> ForwardHead<'a> {
    pub fn new(shapes: &Shapes<'a>, row: usize, head: usize) -> Self {
        let kv_head = head / shapes.group();
        Self {
            q: shapes.q.head(row, head),
            k: shapes.k.head(row, kv_head),
            v: shapes.v.head(row, kv_head),
            row,
            scale: shapes.scale(),
            segments: shapes.segments,
            precision: shapes.precision,
        }
    }

    /// Writes each query's output at `start + query·stride` and its log-sum-exp.
    pub fn run(&self, y: Shared, (start, stride): (usize, usize), log_sums: &mut [f32]) {
        let width = self.q.width;
        let (_, queries, keys) = self.segments.dims();
        let tile_length = packed_length(KEYS, width);
        let tiles = keys.div_ceil(KEYS);
        with_buffer(tiles * tile_length * 2 + KEYS * width, |buffer| {
            let (packed, copy) = buffer.split_at_mut(tiles * tile_length * 2);
            let (packed_keys, packed_values) = packed.split_at_mut(tiles * tile_length);
            for tile in 0..tiles {
                let count = KEYS.min(keys - tile * KEYS);
                let at = tile * tile_length;
                copy_positions(self.k, (tile * KEYS, count), self.precision, copy);
                pack_columns(copy, count, width, &mut packed_keys[at..at + tile_length]);
                copy_positions(self.v, (tile * KEYS, count), self.precision, copy);
                pack_steps(copy, count, width, &mut packed_values[at..at + tile_length]);
            }
            let packed = PackedKeys {
                keys: packed_keys,
                values: packed_values,
                tile_length,
                count: keys,
            };
            for first in (0..queries).step_by(QUERIES) {
                let count = QUERIES.min(queries - first);
                let log_sums = &mut log_sums[first..first + count];
                self.query_tile(
                    (first, count),
                    &packed,
                    log_sums,
                    |query, output, factor| {
                        // SAFETY: a query's part of a head is written by one task.
                        let y = unsafe { y.slice(start + (first + query) * stride, width) };
                        times(output, factor, y);
                    },
                );
            }
        });
    }

    /// The outputs of a tile of queries, before the division by their sums: `write(query, output, 1 / sum)`.
    fn query_tile(
        &self,
        (first, count): (usize, usize),
        packed: &PackedKeys,
        log_sums: &mut [f32],
        write: impl Fn(usize, &[f32], f32),
    ) {
        let width = self.q.width;
        let mut largest = [f32::NEG_INFINITY; QUERIES];
        let mut sums = [0f32; QUERIES];
        with_buffer(QUERIES * (2 * width + KEYS), |buffer| {
            let (queries, rest) = buffer.split_at_mut(QUERIES * width);
            let (outputs, scores) = rest.split_at_mut(QUERIES * width);
            copy_positions(self.q, (first, count), self.precision, queries);
            outputs.fill(0.0);
            let (begin, end) = visible_to(self.segments, self.row, first..first + count);
            for tile in begin / KEYS..end.div_ceil(KEYS) {
                let start = tile * KEYS;
                let keys = KEYS.min(packed.count - start);
                let at = tile * packed.tile_length;
                multiply(
                    queries,
                    &packed.keys[at..],
                    scores,
                    false,
                    (count, width, keys),
                );
                for query in 0..count {
                    let visible = self.segments.visible(self.row, first + query);
                    let visible = in_tile(visible, start, keys);
                    let scores = &mut scores[query * keys..(query + 1) * keys];
                    if visible.0 == visible.1 {
                        scores.fill(0.0);
                        continue;
                    }
                    let before = largest[query];
                    let (now, sum) = softmax_step(scores, visible, self.scale, before);
                    if now > before {
                        let shrink = (before - now).exp();
                        scale_in_place(&mut outputs[query * width..][..width], shrink);
                        sums[query] *= shrink;
                        largest[query] = now;
                    }
                    sums[query] += sum;
                }
                if self.precision == Precision::Bf16 {
                    round_in_place(&mut scores[..count * keys]);
                }
                multiply(
                    scores,
                    &packed.values[at..],
                    outputs,
                    true,
                    (count, keys, width),
                );
            }
            for query in 0..count {
                log_sums[query] = largest[query] + sums[query].ln();
                write(query, &outputs[query * width..][..width], 1.0 / sums[query]);
            }
        });
    }
}
