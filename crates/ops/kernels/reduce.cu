// Sums in a fixed order: the same bits at every run.
#include "device.h"

// Adds `count` rows of `width` numbers: a thread a column.
KERNEL(256, 4) sum_rows(GLOBAL(const float) x, GLOBAL(float) y, int count, int width) {
    size_t column = first_of_thread();
    if (column >= (size_t)width) return;
    float sum = 0;
    for (int row = 0; row < count; row++) sum += x[(size_t)row * width + column];
    y[column] = sum;
}

// A stretch of a tensor.
struct Stretch { STORED(const float) x; unsigned long long count; };

// Σ x² of a stretch, a block each.
KERNEL(256, 4) square_sums(GLOBAL(const Stretch) stretches, GLOBAL(float) sums) {
    SHARED(memory);
    Stretch stretch = stretches[blockIdx.x];
    float sum = 0;
    for (size_t at = threadIdx.x; at < stretch.count; at += blockDim.x) sum += stretch.x[at] * stretch.x[at];
    sum = sum_of_block(sum, (float*)memory);
    if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

// factor·Σ x of one block.
KERNEL(256, 4) total(GLOBAL(const float) x, GLOBAL(float) y, int count, float factor) {
    SHARED(memory);
    float sum = 0;
    for (int at = threadIdx.x; at < count; at += blockDim.x) sum += x[at];
    sum = sum_of_block(sum, (float*)memory);
    if (threadIdx.x == 0) y[0] = factor * sum;
}
