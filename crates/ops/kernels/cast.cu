// Conversions and copies: one thread an element.
#include "device.h"

// Rounds rows of `width` elements, `stride` apart in x, into rows that are `to_stride` apart.
KERNEL(256, 4) round_rows(GLOBAL(const float) x, GLOBAL(bf16) y, long long rows, int width, int stride,
                          int to_stride) {
    for (size_t at = first_of_thread(); at < (size_t)rows * width; at += threads_of_grid())
        y[at / width * to_stride + at % width] = rounded(x[at / width * stride + at % width]);
}
// Rounds up to four tensors, one after the other.
KERNEL(256, 4) round_joined(GLOBAL(const float) a, GLOBAL(const float) b, GLOBAL(const float) c, GLOBAL(const float) d,
                            GLOBAL(bf16) y, long long of_a, long long of_b, long long of_c, long long of_d) {
    size_t b_at = of_a, c_at = b_at + of_b, d_at = c_at + of_c, count = d_at + of_d;
    for (size_t at = first_of_thread(); at < count; at += threads_of_grid())
        y[at] = rounded(at < b_at ? a[at] : at < c_at ? b[at - b_at] : at < d_at ? c[at - c_at] : d[at - d_at]);
}
KERNEL(256, 4) widen(GLOBAL(const bf16) x, GLOBAL(float) y, long long count) {
    for (size_t at = first_of_thread(); at < (size_t)count; at += threads_of_grid()) y[at] = widened(x[at]);
}
// y = factor·x, for a factor that lies in memory.
KERNEL(256, 4) scale(GLOBAL(const float) x, GLOBAL(const float) factor, GLOBAL(float) y, long long count) {
    float times = factor[0];
    for (size_t at = first_of_thread(); at < (size_t)count; at += threads_of_grid()) y[at] = times * x[at];
}
