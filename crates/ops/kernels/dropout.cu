// Dropout of the input of an adapter, drawn where it is used by the same counter-based generator as on the CPU.
#include "device.h"

typedef unsigned long long u64;

// SplitMix64's finalizer over a Weyl sequence.
DEVICE u64 scattered(u64 z) {
    z *= 0x9e3779b97f4a7c15ull;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
}

// y = x·factor. An element's factor is 0 if its draw of 53 bits is below `threshold`, and `kept` otherwise; a row of the
// batch has `length` elements and its own stream of draws, stored as two words.
KERNEL(256, 4) dropout(GLOBAL(const float) x, GLOBAL(const unsigned) streams, GLOBAL(float) y, long long count,
                       long long length, long long threshold, float kept) {
    for (size_t at = first_of_thread(); at < (size_t)count; at += threads_of_grid()) {
        size_t row = at / length;
        u64 stream = streams[2 * row] | (u64)streams[2 * row + 1] << 32;
        y[at] = x[at] * (scattered(stream + at % length) >> 11 < (u64)threshold ? 0 : kept);
    }
}
