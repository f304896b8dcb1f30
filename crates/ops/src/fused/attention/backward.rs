//! Backward pass of one key/value head and the query heads that share it. The attention weights are recomputed tile
//! by tile.
//!
//! With S = q·kᵀ/√d, P = softmax(S) and y = P·v: dv = Pᵀ·dy, dP = dy·vᵀ, dS = P·(dP − Σ dy·y), dq = dS·k/√d and dk =
//! dSᵀ·q/√d.

use super::forward::{KEYS, QUERIES, in_tile, visible_to};
use super::heads::{Head, Heads, Shapes};
use super::tiles::{
    add_transposed, multiply, multiply_into, pack_columns, pack_steps, packed_length,
};
use crate::fused::gemm::tile::Target;
use crate::fused::simd::buffer::{Shared, with_buffer};
use crate::fused::simd::level::vectorized;
use crate::fused::simd::math::{dot, exp, multiply_add};

/// Buffers that the gradients of q, k and v are added to. They start as zeros.
#[derive(Clone, Copy)]
pub(in crate::fused) struct Gradients {
    pub q: Place,
    pub k: Place,
    pub v: Place,
}

/// Mutable view of a tensor (batch, positions, heads, d) in a buffer: its start and its first three strides, in
/// floats.
#[derive(Clone, Copy)]
pub(in crate::fused) struct Place {
    pub memory: Shared,
    pub start: usize,
    pub strides: [usize; 3],
}

impl Place {
    /// Describes a contiguous tensor that starts with the buffer.
    pub fn contiguous(memory: &mut [f32], [_, positions, heads, width]: [usize; 4]) -> Self {
        Self {
            memory: Shared::new(memory),
            start: 0,
            strides: [positions * heads * width, heads * width, width],
        }
    }

    /// Returns the view's memory from the given row, position and head on, as the destination of a product that adds
    /// to it.
    fn target(self, row: usize, position: usize, head: usize) -> Target {
        let [row_stride, stride, head_stride] = self.strides;
        let start = self.start + row * row_stride + position * stride + head * head_stride;
        Target {
            pointer: self.memory.pointer().wrapping_add(start),
            stride,
            accumulate: true,
        }
    }
}

/// Backward pass of one key/value head in one row, for all query heads that share it.
pub(super) struct BackwardHead<'s, 'a> {
    shapes: &'s Shapes<'a>,
    row: usize,
    kv_head: usize,
}

/// Keys and values of one head, packed tile by tile, once for each of the three products that read them.
struct PackedKeys<'b> {
    /// Keys as columns of B, for S = q·kᵀ.
    keys: &'b [f32],
    /// Values as columns of B, for dP = dy·vᵀ.
    values: &'b [f32],
    /// Keys as rows of B, for dq = dS·k.
    key_steps: &'b [f32],
    tile_length: usize,
}

/// Tile of queries of one head, packed for its products.
struct QueryTile<'b> {
    first: usize,
    count: usize,
    queries: &'b [f32],
    outputs: &'b [f32],
    query_steps: &'b [f32],
    output_steps: &'b [f32],
    /// Σ dy·y of each query.
    shares: &'b [f32],
    log_sums: &'b [f32],
}

vectorized! {
    /// Recomputes the softmax weights of one query and the gradient of its scores, in place: P = e^(scale·S −
    /// log-sum) and dS = scale·P·(dP − share). Both are 0 for hidden keys.
    fn weights_and_gradients(
        scores: &mut [f32],
        gradients: &mut [f32],
        visible: (usize, usize),
        terms: (f32, f32, f32),
    ) {
        let (scale, log_sum, share) = terms;
        let (start, end) = visible;
        for row in [&mut *scores, &mut *gradients] {
            row[..start].fill(0.0);
            row[end..].fill(0.0);
        }
        for (score, gradient) in scores[start..end].iter_mut().zip(&mut gradients[start..end]) {
            *score = exp::<FMA>(multiply_add::<FMA>(*score, scale, -log_sum));
            *gradient = *score * (*gradient - share) * scale;
        }
    }
}

impl<'a> BackwardHead<'_, 'a> {
    pub fn new<'s>(shapes: &'s Shapes<'a>, row: usize, kv_head: usize) -> BackwardHead<'s, 'a> {
        BackwardHead {
            shapes,
            row,
            kv_head,
        }
    }

    /// Adds the gradients of all query heads that share the key/value head, one head after the other.
    pub fn run(&self, [y, dy]: [Heads; 2], log_sums: &[f32], gradients: Gradients) {
        let shapes = self.shapes;
        let [_, queries, heads, width] = shapes.q.dims;
        let keys = shapes.k.dims[1];
        let tiles = keys.div_ceil(KEYS);
        let tile_length = packed_length(KEYS, width);
        with_buffer(tiles * tile_length * 3, |buffer| {
            let (packed_keys, rest) = buffer.split_at_mut(tiles * tile_length);
            let (packed_values, key_steps) = rest.split_at_mut(tiles * tile_length);
            self.pack([packed_keys, packed_values, key_steps], tile_length);
            let packed = PackedKeys {
                keys: packed_keys,
                values: packed_values,
                key_steps,
                tile_length,
            };
            for head in self.kv_head * shapes.group()..(self.kv_head + 1) * shapes.group() {
                let log_sums = &log_sums[(self.row * heads + head) * queries..][..queries];
                for first in (0..queries).step_by(QUERIES) {
                    let count = QUERIES.min(queries - first);
                    let log_sums = &log_sums[first..first + count];
                    let sides = [
                        shapes.q.head(self.row, head),
                        y.head(self.row, head),
                        dy.head(self.row, head),
                    ];
                    self.with_queries(sides, (first, count), log_sums, |tile| {
                        self.query_tile(tile, head, &packed, gradients);
                    });
                }
            }
        });
    }

    fn pack(&self, [keys, values, key_steps]: [&mut [f32]; 3], tile_length: usize) {
        let shapes = self.shapes;
        let total = shapes.k.dims[1];
        let k = shapes.k.head(self.row, self.kv_head);
        let v = shapes.v.head(self.row, self.kv_head);
        let format = shapes.format;
        for tile in 0..total.div_ceil(KEYS) {
            let range = (tile * KEYS, KEYS.min(total - tile * KEYS));
            let at = tile * tile_length..(tile + 1) * tile_length;
            pack_columns(k.positions(range), format, &mut keys[at.clone()]);
            pack_steps(k.positions(range), format, &mut key_steps[at.clone()]);
            pack_columns(v.positions(range), format, &mut values[at]);
        }
    }

    fn with_queries(
        &self,
        [q, y, dy]: [Head; 3],
        (first, count): (usize, usize),
        log_sums: &[f32],
        work: impl FnOnce(QueryTile),
    ) {
        let (width, format) = (q.width, self.shapes.format);
        let packed = packed_length(QUERIES, width);
        let mut shares = [0f32; QUERIES];
        for (query, share) in shares[..count].iter_mut().enumerate() {
            *share = dot(y.at(first + query), dy.at(first + query));
        }
        with_buffer(2 * packed + 2 * QUERIES * width, |buffer| {
            let (query_steps, rest) = buffer.split_at_mut(packed);
            let (output_steps, rest) = rest.split_at_mut(packed);
            let (queries, outputs) = rest.split_at_mut(QUERIES * width);
            let (q, dy) = (q.positions((first, count)), dy.positions((first, count)));
            format.copy_rows(q, queries);
            format.copy_rows(dy, outputs);
            pack_steps(q, format, query_steps);
            pack_steps(dy, format, output_steps);
            work(QueryTile {
                first,
                count,
                queries,
                outputs,
                query_steps,
                output_steps,
                shares: &shares[..count],
                log_sums,
            });
        });
    }

    fn query_tile(&self, tile: QueryTile, head: usize, packed: &PackedKeys, out: Gradients) {
        let shapes = self.shapes;
        let (width, keys) = (shapes.q.dims[3], shapes.k.dims[1]);
        let range = tile.first..tile.first + tile.count;
        let (begin, end) = visible_to(shapes.segments, self.row, range);
        let dq = out.q.target(self.row, tile.first, head);
        let format = shapes.format;
        with_buffer(3 * QUERIES * KEYS, |buffer| {
            let (scores, rest) = buffer.split_at_mut(QUERIES * KEYS);
            let (gradients, spare) = rest.split_at_mut(QUERIES * KEYS);
            for key_tile in begin / KEYS..end.div_ceil(KEYS) {
                let start = key_tile * KEYS;
                let count = KEYS.min(keys - start);
                let at = key_tile * packed.tile_length;
                let keys = &packed.keys[at..];
                let sizes = (tile.count, width, count);
                multiply(format, [tile.queries, keys], scores, false, sizes);
                let values = &packed.values[at..];
                multiply(format, [tile.outputs, values], gradients, false, sizes);
                self.softmax_backward(&tile, scores, gradients, (start, count));
                let weights = &mut scores[..tile.count * count];
                let gradients = &mut gradients[..tile.count * count];
                let dv = out.v.target(self.row, start, self.kv_head);
                let dk = out.k.target(self.row, start, self.kv_head);
                let key_steps = &packed.key_steps[at..];
                let sizes = (count, tile.count, width);
                // SAFETY: only this task writes the gradients of this row's key/value head and of its queries, and
                // they have room for the tile.
                unsafe {
                    let steps = format.as_steps(weights, count, spare);
                    add_transposed(format, [steps, tile.output_steps], dv, sizes);
                    let steps = format.as_steps(gradients, count, spare);
                    add_transposed(format, [steps, tile.query_steps], dk, sizes);
                    let rows = format.as_rows(gradients, count, spare);
                    multiply_into(format, [rows, key_steps], dq, (tile.count, count, width));
                }
            }
        });
    }

    /// Replaces the scores by the softmax weights, and the gradients of the weights by those of the scores, in place.
    fn softmax_backward(
        &self,
        tile: &QueryTile,
        scores: &mut [f32],
        gradients: &mut [f32],
        (start, count): (usize, usize),
    ) {
        for query in 0..tile.count {
            let visible = self.shapes.segments.visible(self.row, tile.first + query);
            let row = query * count..(query + 1) * count;
            weights_and_gradients(
                &mut scores[row.clone()],
                &mut gradients[row],
                in_tile(visible, start, count),
                (
                    self.shapes.scale(),
                    tile.log_sums[query],
                    tile.shares[query],
                ),
            );
        }
    }
}
