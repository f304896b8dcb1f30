// Lookup of rows and its gradient.
#include "device.h"

// y[i] = weight[ids[i]].
KERNEL(256, 4) embedding(GLOBAL(const float) weight, GLOBAL(const unsigned) ids, GLOBAL(float) y, long long count,
                         int width) {
    for (size_t at = first_of_thread(); at < (size_t)count * width; at += threads_of_grid())
        y[at] = weight[(size_t)ids[at / width] * width + at % width];
}

// Adds the gradients of each distinct token in the order of its positions: a block a token. Token i of the list is
// ids[i], at the positions order[first[i]..first[i + 1]].
KERNEL(256, 4) embedding_backward(GLOBAL(const float) dy, GLOBAL(const unsigned) ids, GLOBAL(const unsigned) first,
                                  GLOBAL(const unsigned) order, GLOBAL(float) dweight, int width) {
    unsigned token = ids[blockIdx.x], begin = first[blockIdx.x], end = first[blockIdx.x + 1];
    for (int column = threadIdx.x; column < width; column += blockDim.x) {
        float sum = 0;
        for (unsigned at = begin; at < end; at++) sum += dy[(size_t)order[at] * width + column];
        dweight[(size_t)token * width + column] = sum;
    }
}
