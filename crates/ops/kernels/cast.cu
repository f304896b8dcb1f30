// Conversions and copies: one thread an element.
#include "device.h"

// Rounds rows of `width` elements, `stride` apart in x, into rows that are `to_stride` apart.
KERNEL(256, 4) round_rows(GLOBAL(const float) x, GLOBAL(bf16) y, long long rows, int width, int stride,
                          int to_stride) {
    for (size_t at = first_of_thread(); at < (size_t)rows * width; at += threads_of_grid())
        y[at / width * to_stride + at % width] = rounded(x[at / width * stride + at % width]);
}
KERNEL(256, 4) widen(GLOBAL(const bf16) x, GLOBAL(float) y, long long count) {
    for (size_t at = first_of_thread(); at < (size_t)count; at += threads_of_grid()) y[at] = widened(x[at]);
}
