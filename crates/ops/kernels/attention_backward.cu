// Attention over packed documents, backward, without atomics: with P the weights, dP = dy·vᵀ and s = Σ dy∘y of a query,
// dS = P∘(dP − s), dq = dS·k·scale, dk = dSᵀ·q·scale and dv = Pᵀ·dy. P is computed again from the log-sums.
#include "attention.h"

// Σ dy∘y of each query and head, a warp each: (batch, head, query).
KERNEL(128, 2) attention_shares(GLOBAL(const bf16) y, GLOBAL(const bf16) dy, GLOBAL(float) shares, int batch,
                                int queries, int heads) {
    size_t at = (size_t)blockIdx.x * 4 + threadIdx.x / 32;
    int lane = threadIdx.x % 32;
    if (at >= (size_t)batch * queries * heads) return;
    float sum = 0;
    for (int column = lane; column < HEAD_DIM; column += 32)
        sum += widened(y[at * HEAD_DIM + column]) * widened(dy[at * HEAD_DIM + column]);
    sum = sum_of_warp(sum);
    size_t token = at / heads, head = at % heads;
    if (lane == 0) shares[(token / queries * heads + head) * queries + token % queries] = sum;
}

// The gradient of the queries: a block has 64 queries of a head and goes through the keys, as the forward pass. Rows of
// dq are as far apart as those of q.
KERNEL(128, 2) attention_dq(GLOBAL(const bf16) q, GLOBAL(const bf16) k, GLOBAL(const bf16) v, GLOBAL(const bf16) dy,
                            GLOBAL(const unsigned) starts, GLOBAL(const float) log_sums, GLOBAL(const float) shares,
                            GLOBAL(bf16) dq, int queries, int keys, int heads, int group, int query_stride,
                            int key_stride, float scale) {
    SHARED(memory);
    bf16 *of_q = (bf16*)memory, *of_dy = of_q + ROWS * PITCH;
    bf16 *of_k = of_dy + ROWS * PITCH, *of_v = of_k + 2 * TILE * PITCH;
    int first = (gridDim.x - 1 - blockIdx.x) * ROWS, head = blockIdx.y, row = blockIdx.z;
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, quad = lane % 4, offset = keys - queries;
    size_t of_queries = (size_t)row * queries * query_stride + head * HEAD_DIM;
    q = q + of_queries;
    k = k + (size_t)row * keys * key_stride + head / group * HEAD_DIM;
    v = v + (size_t)row * keys * key_stride + head / group * HEAD_DIM;
    dy = dy + ((size_t)row * queries * heads + head) * HEAD_DIM;
    starts = starts + (size_t)row * queries;
    log_sums = log_sums + ((size_t)row * heads + head) * queries;
    shares = shares + ((size_t)row * heads + head) * queries;
    int last = (min(first + ROWS, queries) - 1 + offset) / TILE, tile = (int)starts[first] / TILE;
    copy_tile(of_q, ROWS, q, query_stride, first, queries);
    copy_tile(of_dy, ROWS, dy, (size_t)heads * HEAD_DIM, first, queries);
    copy_tile(of_k, TILE, k, key_stride, tile * TILE, keys);
    copy_tile(of_v, TILE, v, key_stride, tile * TILE, keys);
    end_copies();
    int mine[2], seen[2];
    float log_sum[2], share[2];
    for (int half = 0; half < 2; half++) {
        int query = first + warp * 16 + lane / 4 + 8 * half, there = min(query, queries - 1);
        mine[half] = query + offset;
        seen[half] = (int)starts[there];
        log_sum[half] = log_sums[there] * LOG2_E;
        share[half] = shares[there];
    }
    unsigned query[STEPS][4], gradient[STEPS][4];
    float out[D / 8][4] = {}, factor = scale * LOG2_E;
    bool fresh = true;
    for (int turn = 0; tile <= last; tile++, turn ^= 1) {
        if (tile < last) {
            copy_tile(of_k + (turn ^ 1) * TILE * PITCH, TILE, k, key_stride, (tile + 1) * TILE, keys);
            copy_tile(of_v + (turn ^ 1) * TILE * PITCH, TILE, v, key_stride, (tile + 1) * TILE, keys);
        }
        end_copies();
        await_copies<1>();
        __syncthreads();
        if (fresh) {
            load_rows(query, of_q, warp, lane);
            load_rows(gradient, of_dy, warp, lane);
        }
        fresh = false;
        float score[TILE / 8][4] = {}, of_weight[TILE / 8][4] = {};
        add_dots(score, query, of_k + turn * TILE * PITCH, lane);
        add_dots(of_weight, gradient, of_v + turn * TILE * PITCH, lane);
        for (int at = 0; at < TILE / 8; at++)
            for (int part = 0; part < 4; part++) {
                int key = tile * TILE + at * 8 + 2 * quad + part % 2, half = part / 2;
                bool visible = key <= mine[half] && key >= seen[half];
                float weight = visible ? exp2_of(score[at][part] * factor - log_sum[half]) : 0;
                score[at][part] = weight * (of_weight[at][part] - share[half]);
            }
        add_weighted(out, score, of_k + turn * TILE * PITCH, lane);
        __syncthreads();
    }
    float factors[2] = {scale, scale};
    write_rows(dq + of_queries, query_stride, first + warp * 16, queries, out, factors, lane);
}

// The gradients of keys and values: a block has 64 keys of a key/value head and goes through the queries of all heads
// of its group that see them. ends[row·keys + j] is one past the last query that sees key j; the ends of a row never
// decrease.
KERNEL(128, 2) attention_dkdv(GLOBAL(const bf16) q, GLOBAL(const bf16) k, GLOBAL(const bf16) v, GLOBAL(const bf16) dy,
                              GLOBAL(const unsigned) starts, GLOBAL(const unsigned) ends,
                              GLOBAL(const float) log_sums, GLOBAL(const float) shares, GLOBAL(bf16) dk,
                              GLOBAL(bf16) dv, int queries, int keys, int heads, int group, int query_stride,
                              int key_stride, float scale) {
    SHARED(memory);
    bf16 *of_k = (bf16*)memory, *of_v = of_k + ROWS * PITCH;
    bf16 *of_q = of_v + ROWS * PITCH, *of_dy = of_q + 2 * TILE * PITCH;
    float* numbers = (float*)(of_dy + 2 * TILE * PITCH); // log-sums and shares of a tile of queries, twice
    int first = blockIdx.x * ROWS, kv_head = blockIdx.y, row = blockIdx.z, offset = keys - queries;
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, quad = lane % 4;
    size_t of_keys = (size_t)row * keys * key_stride + kv_head * HEAD_DIM;
    q = q + (size_t)row * queries * query_stride;
    k = k + of_keys;
    v = v + of_keys;
    dy = dy + (size_t)row * queries * heads * HEAD_DIM;
    starts = starts + (size_t)row * queries;
    log_sums = log_sums + (size_t)row * heads * queries;
    shares = shares + (size_t)row * heads * queries;
    int end = min(first + ROWS, keys), from = max(first - offset, 0) / TILE;
    int tiles = max(((int)ends[(size_t)row * keys + end - 1] + TILE - 1) / TILE - from, 0), turns = tiles * group;
    auto copy_turn = [&](int turn) {
        int head = kv_head * group + turn / tiles, start = (from + turn % tiles) * TILE;
        copy_tile(of_q + turn % 2 * TILE * PITCH, TILE, q + head * HEAD_DIM, query_stride, start, queries);
        size_t stride = (size_t)heads * HEAD_DIM;
        copy_tile(of_dy + turn % 2 * TILE * PITCH, TILE, dy + head * HEAD_DIM, stride, start, queries);
        for (int at = threadIdx.x; at < TILE; at += THREADS) {
            size_t there = (size_t)head * queries + min(start + at, queries - 1);
            numbers[turn % 2 * 2 * TILE + at] = log_sums[there] * LOG2_E;
            numbers[turn % 2 * 2 * TILE + TILE + at] = shares[there];
        }
    };
    copy_tile(of_k, ROWS, k, key_stride, first, keys);
    copy_tile(of_v, ROWS, v, key_stride, first, keys);
    if (turns > 0) copy_turn(0);
    end_copies();
    int mine[2] = {first + warp * 16 + lane / 4, first + warp * 16 + lane / 4 + 8};
    unsigned key[STEPS][4], value[STEPS][4];
    float out_k[D / 8][4] = {}, out_v[D / 8][4] = {}, factor = scale * LOG2_E;
    for (int turn = 0; turn < turns; turn++) {
        if (turn + 1 < turns) copy_turn(turn + 1);
        end_copies();
        await_copies<1>();
        __syncthreads();
        if (turn == 0) {
            load_rows(key, of_k, warp, lane);
            load_rows(value, of_v, warp, lane);
        }
        bf16 *tile_q = of_q + turn % 2 * TILE * PITCH, *tile_dy = of_dy + turn % 2 * TILE * PITCH;
        const float* number = numbers + turn % 2 * 2 * TILE;
        int start = (from + turn % tiles) * TILE;
        float score[TILE / 8][4] = {}, of_weight[TILE / 8][4] = {};
        add_dots(score, key, tile_q, lane);
        add_dots(of_weight, value, tile_dy, lane);
        for (int at = 0; at < TILE / 8; at++)
            for (int part = 0; part < 4; part++) {
                int in_tile = at * 8 + 2 * quad + part % 2, query = start + in_tile, half = part / 2;
                bool visible = query < queries && mine[half] <= query + offset &&
                               mine[half] >= (int)starts[min(query, queries - 1)];
                float weight = visible ? exp2_of(score[at][part] * factor - number[in_tile]) : 0;
                score[at][part] = weight;
                of_weight[at][part] = weight * (of_weight[at][part] - number[TILE + in_tile]);
            }
        add_weighted(out_v, score, tile_dy, lane);
        add_weighted(out_k, of_weight, tile_q, lane);
        __syncthreads();
    }
    float scales[2] = {scale, scale}, ones[2] = {1, 1};
    write_rows(dk + of_keys, key_stride, first + warp * 16, keys, out_k, scales, lane);
    write_rows(dv + of_keys, key_stride, first + warp * 16, keys, out_v, ones, lane);
}
