// Tiles of attention on tensor cores, for heads of HEAD_DIM elements, a multiple of 8 up to 128.
#pragma once
#include "device.h"

// Elements of a head in the tiles: a multiple of 16, filled up with zeros. A row of a tile is 16 bytes longer than its
// elements, so that eight rows of one column lie in different banks of shared memory.
constexpr int D = (HEAD_DIM + 15) / 16 * 16, PITCH = D + 8, STEPS = D / 16;
// Rows of a block, and rows of the tiles that it goes through.
constexpr int ROWS = 64, TILE = D > 64 ? 32 : 64;
constexpr int THREADS = 128;

DEVICE bf16* place(bf16* tile, int row, int column) { return tile + row * PITCH + column; }

// Begins to copy `count` rows of a head from row `first` on; rows from `end` on become zeros.
DEVICE void copy_tile(bf16* tile, int count, GLOBAL(const bf16) from, size_t stride, int first, int end) {
    for (int at = threadIdx.x; at < count * (D / 8); at += THREADS) {
        int row = at / (D / 8), column = at % (D / 8) * 8;
        bool there = first + row < end && column < HEAD_DIM;
        copy_async(place(tile, row, column), from + (there ? (first + row) * stride + column : 0), there);
    }
}

// Loads a warp's 16 rows of a tile as left operands.
DEVICE void load_rows(unsigned (&left)[STEPS][4], bf16* tile, int warp, int lane) {
    for (int step = 0; step < STEPS; step++)
        load_matrices(left[step], place(tile, warp * 16 + lane % 16, step * 16 + lane / 16 * 8));
}

// Adds the dot products of a warp's 16 rows with the 8·N rows of a tile: (16, D)·(8·N, D)ᵀ.
template <int N>
DEVICE void add_dots(float (&sums)[N][4], const unsigned (&left)[STEPS][4], bf16* tile, int lane) {
    for (int step = 0; step < STEPS; step++)
        for (int two = 0; two < N / 2; two++) {
            unsigned right[4]; // rows 0–7 at elements 0–7 and 8–15, then rows 8–15
            load_matrices(right, place(tile, two * 16 + lane / 16 * 8 + lane % 8, step * 16 + lane / 8 % 2 * 8));
            unsigned one[2] = {right[0], right[1]}, other[2] = {right[2], right[3]};
            multiply(sums[2 * two], left[step], one);
            multiply(sums[2 * two + 1], left[step], other);
        }
}

// Adds the rows of a tile, weighted: out += (16, 8·N)·(8·N, D), with the weights rounded.
template <int N>
DEVICE void add_weighted(float (&out)[D / 8][4], const float (&weights)[N][4], bf16* tile, int lane) {
    for (int step = 0; step < N / 2; step++) {
        const float(&a)[4] = weights[2 * step], (&b)[4] = weights[2 * step + 1];
        unsigned left[4] = {pair(a[0], a[1]), pair(a[2], a[3]), pair(b[0], b[1]), pair(b[2], b[3])};
        for (int two = 0; two < D / 16; two++) {
            unsigned right[4];
            load_transposed(right, place(tile, step * 16 + lane % 16, two * 16 + lane / 16 * 8));
            unsigned one[2] = {right[0], right[1]}, other[2] = {right[2], right[3]};
            multiply(out[2 * two], left, one);
            multiply(out[2 * two + 1], left, other);
        }
    }
}

// Writes a warp's 16 rows as far as they lie before the row `end`. A lane has elements of the rows lane / 4 and
// lane / 4 + 8, each with its own factor.
DEVICE void write_rows(GLOBAL(bf16) to, size_t stride, int first, int end, const float (&out)[D / 8][4],
                       const float (&factor)[2], int lane) {
    for (int half = 0; half < 2; half++) {
        int row = first + lane / 4 + 8 * half;
        if (row >= end) continue;
        GLOBAL(unsigned) at = pairs_of(to + row * stride);
        for (int part = 0; part < HEAD_DIM / 8; part++)
            at[part * 4 + lane % 4] = pair(out[part][2 * half] * factor[half], out[part][2 * half + 1] * factor[half]);
    }
}
