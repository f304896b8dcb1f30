// Attention over packed documents in f32, forward and backward: the same algorithm as on tensor cores, with multiply-adds
// of single threads. Arguments are as in attention_forward.cu and attention_backward.cu.
#include "device.h"

constexpr int D = HEAD_DIM, PITCH = D + 1, PARTS = D / 4;
// Rows of a block and of the tiles that it goes through. Four threads share a row; each has every fourth element of it,
// of HALVES rows.
constexpr int THREADS = 128, ROWS = D > 64 ? 32 : 64, HALVES = ROWS / 32, TILE = 32, COLUMNS = TILE / 4;

// Copies rows of a head from row `first` on; rows from `end` on become zeros.
DEVICE void copy_rows(float* to, int count, GLOBAL(const float) from, size_t stride, int first, int end) {
    for (int at = threadIdx.x; at < count * D; at += THREADS) {
        int row = at / D, column = at % D;
        to[row * PITCH + column] = first + row < end ? from[(first + row) * stride + column] : 0;
    }
}
// Dot products of a thread's rows with every fourth row of a tile.
DEVICE void dots(float (&sums)[HALVES][COLUMNS], const float* rows, const float* tile) {
    int row = threadIdx.x / 4, quad = threadIdx.x % 4;
    for (int element = 0; element < D; element++)
        for (int half = 0; half < HALVES; half++) {
            float left = rows[(row + 32 * half) * PITCH + element];
            for (int at = 0; at < COLUMNS; at++)
                sums[half][at] = multiply_add(left, tile[(quad + 4 * at) * PITCH + element], sums[half][at]);
        }
}
// Leaves the weights of a thread's rows where the other threads of these rows find them.
DEVICE void leave(float* weights, const float (&weight)[HALVES][COLUMNS]) {
    int row = threadIdx.x / 4, quad = threadIdx.x % 4;
    for (int half = 0; half < HALVES; half++)
        for (int at = 0; at < COLUMNS; at++)
            weights[(row + 32 * half) * (TILE + 1) + quad + 4 * at] = weight[half][at];
}
// Adds the rows of a tile, weighted.
DEVICE void add_weighted(float (&out)[HALVES][PARTS], const float* weights, const float* tile) {
    int row = threadIdx.x / 4, quad = threadIdx.x % 4;
    for (int at = 0; at < TILE; at++)
        for (int half = 0; half < HALVES; half++) {
            float weight = weights[(row + 32 * half) * (TILE + 1) + at];
            for (int part = 0; part < PARTS; part++)
                out[half][part] = multiply_add(weight, tile[at * PITCH + quad + 4 * part], out[half][part]);
        }
}
DEVICE void write_rows(GLOBAL(float) to, size_t stride, int first, int end, const float (&out)[HALVES][PARTS],
                       const float (&factor)[HALVES]) {
    for (int half = 0; half < HALVES; half++) {
        int row = first + threadIdx.x / 4 + 32 * half;
        if (row >= end) continue;
        for (int part = 0; part < PARTS; part++)
            to[row * stride + threadIdx.x % 4 + 4 * part] = out[half][part] * factor[half];
    }
}

KERNEL(128, 1) attention_forward_f32(GLOBAL(const float) q, GLOBAL(const float) k, GLOBAL(const float) v,
                                     GLOBAL(const unsigned) starts, GLOBAL(float) y, GLOBAL(float) log_sums,
                                     int queries, int keys, int heads, int group, int query_stride, int key_stride,
                                     float scale) {
    SHARED(memory);
    float *of_q = (float*)memory, *of_k = of_q + ROWS * PITCH, *of_v = of_k + TILE * PITCH;
    float* weights = of_v + TILE * PITCH;
    int first = (gridDim.x - 1 - blockIdx.x) * ROWS, head = blockIdx.y, row = blockIdx.z, offset = keys - queries;
    int quad = threadIdx.x % 4;
    q = q + (size_t)row * queries * query_stride + head * HEAD_DIM;
    k = k + (size_t)row * keys * key_stride + head / group * HEAD_DIM;
    v = v + (size_t)row * keys * key_stride + head / group * HEAD_DIM;
    starts = starts + (size_t)row * queries;
    int last = (min(first + ROWS, queries) - 1 + offset) / TILE, tile = (int)starts[first] / TILE;
    copy_rows(of_q, ROWS, q, query_stride, first, queries);
    int mine[HALVES], seen[HALVES];
    float sum[HALVES], most[HALVES], out[HALVES][PARTS] = {}, factor = scale * LOG2_E;
    for (int half = 0; half < HALVES; half++) {
        int query = first + threadIdx.x / 4 + 32 * half;
        mine[half] = query + offset;
        seen[half] = (int)starts[min(query, queries - 1)];
        sum[half] = 0;
        most[half] = -INFINITY;
    }
    for (; tile <= last; tile++) {
        __syncthreads(); // the last tile has been read
        copy_rows(of_k, TILE, k, key_stride, tile * TILE, keys);
        copy_rows(of_v, TILE, v, key_stride, tile * TILE, keys);
        __syncthreads();
        float score[HALVES][COLUMNS] = {};
        dots(score, of_q, of_k);
        for (int half = 0; half < HALVES; half++) {
            float before = most[half];
            for (int at = 0; at < COLUMNS; at++) {
                int key = tile * TILE + quad + 4 * at;
                bool visible = key <= mine[half] && key >= seen[half];
                score[half][at] = visible ? score[half][at] * factor : -INFINITY;
                most[half] = larger(score[half][at], most[half]);
            }
            for (int mask = 1; mask < 4; mask <<= 1) most[half] = larger(shuffle_xor(most[half], mask), most[half]);
            float shift = most[half] == -INFINITY ? 0 : most[half], less = exp2_of(before - shift);
            sum[half] *= less;
            for (int part = 0; part < PARTS; part++) out[half][part] *= less;
            for (int at = 0; at < COLUMNS; at++) {
                score[half][at] = exp2_of(score[half][at] - shift);
                sum[half] += score[half][at];
            }
        }
        leave(weights, score);
        __syncthreads();
        add_weighted(out, weights, of_v);
    }
    float one[HALVES];
    for (int half = 0; half < HALVES; half++) {
        for (int mask = 1; mask < 4; mask <<= 1) sum[half] += shuffle_xor(sum[half], mask);
        one[half] = 1 / sum[half];
        int query = mine[half] - offset;
        if (quad == 0 && query < queries)
            log_sums[((size_t)row * heads + head) * queries + query] = (most[half] + log2f(sum[half])) * LN_2;
    }
    GLOBAL(float) to = y + ((size_t)row * queries * heads + head) * HEAD_DIM;
    write_rows(to, (size_t)heads * HEAD_DIM, first, queries, out, one);
}

KERNEL(128, 2) attention_shares_f32(GLOBAL(const float) y, GLOBAL(const float) dy, GLOBAL(float) shares, int batch,
                                    int queries, int heads) {
    size_t at = (size_t)blockIdx.x * 4 + threadIdx.x / 32;
    int lane = threadIdx.x % 32;
    if (at >= (size_t)batch * queries * heads) return;
    float sum = 0;
    for (int column = lane; column < HEAD_DIM; column += 32)
        sum = multiply_add(y[at * HEAD_DIM + column], dy[at * HEAD_DIM + column], sum);
    sum = sum_of_warp(sum);
    size_t token = at / heads, head = at % heads;
    if (lane == 0) shares[(token / queries * heads + head) * queries + token % queries] = sum;
}

KERNEL(128, 1) attention_dq_f32(GLOBAL(const float) q, GLOBAL(const float) k, GLOBAL(const float) v,
                                GLOBAL(const float) dy, GLOBAL(const unsigned) starts, GLOBAL(const float) log_sums,
                                GLOBAL(const float) shares, GLOBAL(float) dq, int queries, int keys, int heads,
                                int group, int query_stride, int key_stride, float scale) {
    SHARED(memory);
    float *of_q = (float*)memory, *of_dy = of_q + ROWS * PITCH, *of_k = of_dy + ROWS * PITCH;
    float *of_v = of_k + TILE * PITCH, *weights = of_v + TILE * PITCH;
    int first = (gridDim.x - 1 - blockIdx.x) * ROWS, head = blockIdx.y, row = blockIdx.z, offset = keys - queries;
    int quad = threadIdx.x % 4;
    size_t of_queries = (size_t)row * queries * query_stride + head * HEAD_DIM;
    q = q + of_queries;
    k = k + (size_t)row * keys * key_stride + head / group * HEAD_DIM;
    v = v + (size_t)row * keys * key_stride + head / group * HEAD_DIM;
    dy = dy + ((size_t)row * queries * heads + head) * HEAD_DIM;
    starts = starts + (size_t)row * queries;
    log_sums = log_sums + ((size_t)row * heads + head) * queries;
    shares = shares + ((size_t)row * heads + head) * queries;
    int last = (min(first + ROWS, queries) - 1 + offset) / TILE, tile = (int)starts[first] / TILE;
    copy_rows(of_q, ROWS, q, query_stride, first, queries);
    copy_rows(of_dy, ROWS, dy, (size_t)heads * HEAD_DIM, first, queries);
    int mine[HALVES], seen[HALVES];
    float log_sum[HALVES], share[HALVES], factors[HALVES], out[HALVES][PARTS] = {}, factor = scale * LOG2_E;
    for (int half = 0; half < HALVES; half++) {
        int query = first + threadIdx.x / 4 + 32 * half, there = min(query, queries - 1);
        mine[half] = query + offset;
        seen[half] = (int)starts[there];
        log_sum[half] = log_sums[there] * LOG2_E;
        share[half] = shares[there];
        factors[half] = scale;
    }
    for (; tile <= last; tile++) {
        __syncthreads(); // the last tile has been read
        copy_rows(of_k, TILE, k, key_stride, tile * TILE, keys);
        copy_rows(of_v, TILE, v, key_stride, tile * TILE, keys);
        __syncthreads();
        float score[HALVES][COLUMNS] = {}, of_weight[HALVES][COLUMNS] = {};
        dots(score, of_q, of_k);
        dots(of_weight, of_dy, of_v);
        for (int half = 0; half < HALVES; half++)
            for (int at = 0; at < COLUMNS; at++) {
                int key = tile * TILE + quad + 4 * at;
                bool visible = key <= mine[half] && key >= seen[half];
                float weight = visible ? exp2_of(score[half][at] * factor - log_sum[half]) : 0;
                score[half][at] = weight * (of_weight[half][at] - share[half]);
            }
        leave(weights, score);
        __syncthreads();
        add_weighted(out, weights, of_k);
    }
    write_rows(dq + of_queries, query_stride, first, queries, out, factors);
}

KERNEL(128, 1) attention_dkdv_f32(GLOBAL(const float) q, GLOBAL(const float) k, GLOBAL(const float) v,
                                  GLOBAL(const float) dy, GLOBAL(const unsigned) starts, GLOBAL(const unsigned) ends,
                                  GLOBAL(const float) log_sums, GLOBAL(const float) shares, GLOBAL(float) dk,
                                  GLOBAL(float) dv, int queries, int keys, int heads, int group, int query_stride,
                                  int key_stride, float scale) {
    SHARED(memory);
    float *of_k = (float*)memory, *of_v = of_k + ROWS * PITCH, *of_q = of_v + ROWS * PITCH;
    float *of_dy = of_q + TILE * PITCH, *weights = of_dy + TILE * PITCH, *slopes = weights + ROWS * (TILE + 1);
    int first = blockIdx.x * ROWS, kv_head = blockIdx.y, row = blockIdx.z, offset = keys - queries;
    int quad = threadIdx.x % 4;
    size_t of_keys = (size_t)row * keys * key_stride + kv_head * HEAD_DIM, stride = (size_t)heads * HEAD_DIM;
    q = q + (size_t)row * queries * query_stride;
    k = k + of_keys;
    v = v + of_keys;
    dy = dy + (size_t)row * queries * heads * HEAD_DIM;
    starts = starts + (size_t)row * queries;
    log_sums = log_sums + (size_t)row * heads * queries;
    shares = shares + (size_t)row * heads * queries;
    int end = min(first + ROWS, keys), from = max(first - offset, 0) / TILE;
    int tiles = max(((int)ends[(size_t)row * keys + end - 1] + TILE - 1) / TILE - from, 0), turns = tiles * group;
    copy_rows(of_k, ROWS, k, key_stride, first, keys);
    copy_rows(of_v, ROWS, v, key_stride, first, keys);
    float out_k[HALVES][PARTS] = {}, out_v[HALVES][PARTS] = {}, factor = scale * LOG2_E;
    for (int turn = 0; turn < turns; turn++) {
        int head = kv_head * group + turn / tiles, start = (from + turn % tiles) * TILE;
        __syncthreads(); // the last tile has been read
        copy_rows(of_q, TILE, q + head * HEAD_DIM, query_stride, start, queries);
        copy_rows(of_dy, TILE, dy + head * HEAD_DIM, stride, start, queries);
        __syncthreads();
        float score[HALVES][COLUMNS] = {}, of_weight[HALVES][COLUMNS] = {};
        dots(score, of_k, of_q);
        dots(of_weight, of_v, of_dy);
        for (int at = 0; at < COLUMNS; at++) {
            int query = start + quad + 4 * at, there = min(query, queries - 1);
            size_t place = (size_t)head * queries + there;
            float log_sum = log_sums[place] * LOG2_E, share = shares[place];
            int seen = (int)starts[there];
            for (int half = 0; half < HALVES; half++) {
                int mine = first + threadIdx.x / 4 + 32 * half;
                bool visible = query < queries && mine <= query + offset && mine >= seen;
                float weight = visible ? exp2_of(score[half][at] * factor - log_sum) : 0;
                score[half][at] = weight;
                of_weight[half][at] = weight * (of_weight[half][at] - share);
            }
        }
        leave(weights, score);
        leave(slopes, of_weight);
        __syncthreads();
        add_weighted(out_v, weights, of_dy);
        add_weighted(out_k, slopes, of_q);
    }
    float scales[HALVES], ones[HALVES];
    for (int half = 0; half < HALVES; half++) {
        scales[half] = scale;
        ones[half] = 1;
    }
    write_rows(dk + of_keys, key_stride, first, keys, out_k, scales);
    write_rows(dv + of_keys, key_stride, first, keys, out_v, ones);
}
