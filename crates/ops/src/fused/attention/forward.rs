//! Forward pass of one attention head: tiles of scores with an online softmax.

use super::heads::{Head, Shapes};
use super::tiles::{multiply, pack_columns, pack_steps, packed_length};
use crate::Segments;
use crate::fused::gemm::format::Format;
use crate::fused::simd::buffer::{Shared, with_buffer};
use crate::fused::simd::level::vectorized;
use crate::fused::simd::math::{
    LANES, exp, horizontal_max, horizontal_sum, multiply_add, scale, scaled,
};

/// Numbers of queries and keys in a tile. The number of keys is a multiple of the panel width of every instruction
/// set.
pub(super) const QUERIES: usize = 48;
pub(super) const KEYS: usize = 64;

/// Forward pass of one query head in one row.
pub(super) struct ForwardHead<'a> {
    q: Head<'a>,
    k: Head<'a>,
    v: Head<'a>,
    row: usize,
    scale: f32,
    segments: &'a Segments,
    format: Format,
}

vectorized! {
    /// Replaces the scores of the visible keys by e^(scale·score − largest), and all others by 0. `before` is the
    /// largest scaled score of earlier tiles. Returns the new largest score and the sum of the exponentials.
    fn softmax_step(scores: &mut [f32], visible: (usize, usize), scale: f32, before: f32) -> (f32, f32) {
        let (start, end) = visible;
        // Hidden scores become e^−∞ = 0: computing whole vectors is faster than computing the exact range.
        scores[..start].fill(f32::NEG_INFINITY);
        scores[end..].fill(f32::NEG_INFINITY);
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
        let largest = horizontal_max(lanes);
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
        (largest, horizontal_sum(sums))
    }
}

/// Returns the range (start, end) of keys that at least one of `queries` may attend to.
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

/// Returns the part of a query's visible keys that lies in the tile of `count` keys from `start` on, relative to
/// `start`.
pub(super) fn in_tile(
    visible: std::ops::Range<usize>,
    start: usize,
    count: usize,
) -> (usize, usize) {
    let end = visible.end.clamp(start, start + count) - start;
    let begin = visible.start.clamp(start, start + count) - start;
    (begin.min(end), end)
}

/// Keys and values of one head, packed tile by tile.
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
            format: shapes.format,
        }
    }

    /// Computes the attention of all queries of the head. Writes the output of each query at `start + query·stride`
    /// of `y`, which may be uninitialized, and its log-sum-exp into `log_sums`.
    pub fn run(&self, y: Shared, (start, stride): (usize, usize), log_sums: &mut [f32]) {
        let width = self.q.width;
        let (_, queries, keys) = self.segments.dims();
        let tile_length = packed_length(KEYS, width);
        let tiles = keys.div_ceil(KEYS);
        with_buffer(tiles * tile_length * 2, |packed| {
            let (packed_keys, packed_values) = packed.split_at_mut(tiles * tile_length);
            // With a cache and a window, keys before the first visible one are not packed.
            let seen = self.segments.first_visible(self.row) / KEYS;
            for tile in seen..tiles {
                let range = (tile * KEYS, KEYS.min(keys - tile * KEYS));
                let at = tile * tile_length..(tile + 1) * tile_length;
                pack_columns(
                    self.k.positions(range),
                    self.format,
                    &mut packed_keys[at.clone()],
                );
                pack_steps(self.v.positions(range), self.format, &mut packed_values[at]);
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
                        // SAFETY: one task alone writes a query's part of this head.
                        let y = unsafe { y.zeroed(start + (first + query) * stride, width) };
                        scaled(output, factor, y);
                    },
                );
            }
        });
    }

    /// Computes a tile of queries and calls `write(query, output, 1 / sum)` for each, with the output before the
    /// division by the softmax's sum.
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
        with_buffer(QUERIES * 2 * (width + KEYS), |buffer| {
            let (queries, rest) = buffer.split_at_mut(QUERIES * width);
            let (outputs, rest) = rest.split_at_mut(QUERIES * width);
            let (scores, spare) = rest.split_at_mut(QUERIES * KEYS);
            self.format
                .copy_rows(self.q.positions((first, count)), queries);
            outputs.fill(0.0);
            let (begin, end) = visible_to(self.segments, self.row, first..first + count);
            for tile in begin / KEYS..end.div_ceil(KEYS) {
                let start = tile * KEYS;
                let keys = KEYS.min(packed.count - start);
                let at = tile * packed.tile_length;
                let sizes = (count, width, keys);
                multiply(
                    self.format,
                    [queries, &packed.keys[at..]],
                    scores,
                    false,
                    sizes,
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
                        scale(&mut outputs[query * width..][..width], shrink);
                        sums[query] *= shrink;
                        largest[query] = now;
                    }
                    sums[query] += sum;
                }
                let weights = self
                    .format
                    .as_rows(&mut scores[..count * keys], keys, spare);
                let sizes = (count, keys, width);
                multiply(
                    self.format,
                    [weights, &packed.values[at..]],
                    outputs,
                    true,
                    sizes,
                );
            }
            for query in 0..count {
                log_sums[query] = largest[query] + sums[query].ln();
                write(query, &outputs[query * width..][..width], 1.0 / sums[query]);
            }
        });
    }
}
