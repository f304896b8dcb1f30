// Rotary position embedding: turns the pairs (x[i], x[i + half]) of a head by its position's angle.
#include "device.h"

// cos and sin are (positions, half); `direction` is 1 forward and −1 for the gradient, which turns back. Tokens lie
// `stride` elements apart in x and, without gaps, in y. One thread a pair.
KERNEL(256, 4) rope(GLOBAL(const float) x, GLOBAL(const float) cos, GLOBAL(const float) sin,
                    GLOBAL(const unsigned) positions, GLOBAL(float) y, int tokens, int heads, int half, int stride,
                    float direction) {
    size_t pairs = (size_t)tokens * heads * half;
    for (size_t at = first_of_thread(); at < pairs; at += threads_of_grid()) {
        int pair_of = at % half, head = at / half % heads;
        size_t token = at / half / heads;
        size_t angle = (size_t)positions[token] * half + pair_of;
        float c = cos[angle], s = direction * sin[angle];
        size_t from = token * stride + (size_t)head * 2 * half + pair_of;
        size_t to = (token * heads + head) * 2 * half + pair_of;
        float first = x[from], second = x[from + half];
        y[to] = first * c - second * s;
        y[to + half] = second * c + first * s;
    }
}

// The same of rows that hold the heads of queries, keys and values side by side, rounded: the first `turned` of `heads`
// heads are turned, the others copied.
template <class T>
DEVICE void turn_sides(GLOBAL(const T) x, GLOBAL(const float) cos, GLOBAL(const float) sin,
                       GLOBAL(const unsigned) positions, GLOBAL(bf16) y, int tokens, int heads, int turned, int half,
                       float direction) {
    size_t pairs = (size_t)tokens * heads * half;
    for (size_t at = first_of_thread(); at < pairs; at += threads_of_grid()) {
        int pair_of = at % half, head = at / half % heads;
        size_t token = at / half / heads, from = at / half * 2 * half + pair_of;
        float first = value_of(x[from]), second = value_of(x[from + half]), c = 1, s = 0;
        if (head < turned) {
            size_t angle = (size_t)positions[token] * half + pair_of;
            c = cos[angle];
            s = direction * sin[angle];
        }
        y[from] = rounded(first * c - second * s);
        y[from + half] = rounded(second * c + first * s);
    }
}
KERNEL(256, 4) rope_sides(GLOBAL(const float) x, GLOBAL(const float) cos, GLOBAL(const float) sin,
                          GLOBAL(const unsigned) positions, GLOBAL(bf16) y, int tokens, int heads, int turned,
                          int half, float direction) {
    turn_sides(x, cos, sin, positions, y, tokens, heads, turned, half, direction);
}
KERNEL(256, 4) rope_sides_rounded(GLOBAL(const bf16) x, GLOBAL(const float) cos, GLOBAL(const float) sin,
                                  GLOBAL(const unsigned) positions, GLOBAL(bf16) y, int tokens, int heads, int turned,
                                  int half, float direction) {
    turn_sides(x, cos, sin, positions, y, tokens, heads, turned, half, direction);
}
