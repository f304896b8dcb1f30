// Attention over packed documents, forward (FlashAttention-2, Dao 2023): softmax(q·kᵀ·scale)·v with running maxima.
#include "attention.h"

// A block has 64 queries of a head, a warp 16 of them; it goes through the keys tile by tile. The rows of q are
// `query_stride` elements apart, those of k and v `key_stride`. Query i of a row stands at key position i + keys −
// queries and sees the keys from starts[row·queries + i] to that position; the starts of a row never decrease. y is
// (batch, query, head, HEAD_DIM); log_sums, the logarithm of each query's sum of exponentials, is (batch, head, query).
KERNEL(128, 2) attention_forward(GLOBAL(const bf16) q, GLOBAL(const bf16) k, GLOBAL(const bf16) v,
                                 GLOBAL(const unsigned) starts, GLOBAL(bf16) y, GLOBAL(float) log_sums, int queries,
                                 int keys, int heads, int group, int query_stride, int key_stride, float scale) {
    SHARED(memory);
    bf16* of_q = (bf16*)memory;
    bf16* of_k = of_q + ROWS * PITCH; // two tiles each of keys and values
    bf16* of_v = of_k + 2 * TILE * PITCH;
    int first = (gridDim.x - 1 - blockIdx.x) * ROWS, head = blockIdx.y, row = blockIdx.z; // the longest first
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, quad = lane % 4, offset = keys - queries;
    q = q + (size_t)row * queries * query_stride + head * HEAD_DIM;
    k = k + (size_t)row * keys * key_stride + head / group * HEAD_DIM;
    v = v + (size_t)row * keys * key_stride + head / group * HEAD_DIM;
    starts = starts + (size_t)row * queries;
    int last = (min(first + ROWS, queries) - 1 + offset) / TILE, tile = (int)starts[first] / TILE;
    copy_tile(of_q, ROWS, q, query_stride, first, queries);
    copy_tile(of_k, TILE, k, key_stride, tile * TILE, keys);
    copy_tile(of_v, TILE, v, key_stride, tile * TILE, keys);
    end_copies();
    // A lane has elements of two rows. Queries past the end see what the last one does; they are not written.
    int mine[2], seen[2];
    for (int half = 0; half < 2; half++) {
        int query = first + warp * 16 + lane / 4 + 8 * half;
        mine[half] = query + offset;
        seen[half] = (int)starts[min(query, queries - 1)];
    }
    unsigned query[STEPS][4];
    float sum[2] = {0, 0}, most[2] = {-INFINITY, -INFINITY}, out[D / 8][4] = {};
    float factor = scale * LOG2_E;
    bool fresh = true;
    for (int turn = 0; tile <= last; tile++, turn ^= 1) {
        if (tile < last) {
            copy_tile(of_k + (turn ^ 1) * TILE * PITCH, TILE, k, key_stride, (tile + 1) * TILE, keys);
            copy_tile(of_v + (turn ^ 1) * TILE * PITCH, TILE, v, key_stride, (tile + 1) * TILE, keys);
        }
        end_copies();
        await_copies<1>();
        __syncthreads();
        if (fresh) load_rows(query, of_q, warp, lane);
        fresh = false;
        float score[TILE / 8][4] = {};
        add_dots(score, query, of_k + turn * TILE * PITCH, lane);
        float before[2] = {most[0], most[1]}, shift[2];
        for (int at = 0; at < TILE / 8; at++)
            for (int part = 0; part < 4; part++) {
                int key = tile * TILE + at * 8 + 2 * quad + part % 2, half = part / 2;
                bool visible = key <= mine[half] && key >= seen[half];
                score[at][part] = visible ? score[at][part] * factor : -INFINITY;
                most[half] = score[at][part] > most[half] ? score[at][part] : most[half];
            }
        for (int half = 0; half < 2; half++) {
            for (int mask = 1; mask < 4; mask <<= 1) most[half] = larger(shuffle_xor(most[half], mask), most[half]);
            shift[half] = most[half] == -INFINITY ? 0 : most[half];
            float less = exp2_of(before[half] - shift[half]);
            sum[half] *= less;
            for (int at = 0; at < D / 8; at++) {
                out[at][2 * half] *= less;
                out[at][2 * half + 1] *= less;
            }
        }
        for (int at = 0; at < TILE / 8; at++)
            for (int part = 0; part < 4; part++) {
                score[at][part] = exp2_of(score[at][part] - shift[part / 2]);
                sum[part / 2] += score[at][part];
            }
        add_weighted(out, score, of_v + turn * TILE * PITCH, lane);
        __syncthreads(); // the tile has been read: the next copy may overwrite it
    }
    float one[2];
    for (int half = 0; half < 2; half++) {
        for (int mask = 1; mask < 4; mask <<= 1) sum[half] += shuffle_xor(sum[half], mask);
        one[half] = 1 / sum[half];
        int query_of = mine[half] - offset;
        if (quad == 0 && query_of < queries)
            log_sums[((size_t)row * heads + head) * queries + query_of] = (most[half] + log2f(sum[half])) * LN_2;
    }
    GLOBAL(bf16) to = y + ((size_t)row * queries * heads + head) * HEAD_DIM;
    write_rows(to, (size_t)heads * HEAD_DIM, first + warp * 16, queries, out, one, lane);
}
