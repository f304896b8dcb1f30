// Muon's steps between the products: one thread an element.
#include "device.h"

// m ← μ·m + (1 − μ)·g, and the direction μ·m + (1 − μ)·g (Nesterov).
KERNEL(256, 4) muon_momentum(GLOBAL(const float) g, GLOBAL(float) m, GLOBAL(float) direction, float momentum,
                             float scale, long long count) {
    for (size_t at = first_of_thread(); at < (size_t)count; at += threads_of_grid()) {
        float fresh = (1 - momentum) * scale * g[at];
        m[at] = momentum * m[at] + fresh;
        direction[at] = momentum * m[at] + fresh;
    }
}
// y = b·x + c·y: the factor of a step of Newton and Schulz.
KERNEL(256, 4) muon_polynomial(GLOBAL(const float) x, GLOBAL(float) y, float b, float c, long long count) {
    for (size_t at = first_of_thread(); at < (size_t)count; at += threads_of_grid()) y[at] = b * x[at] + c * y[at];
}
// p ← kept·p − step·u.
KERNEL(256, 4) muon_apply(GLOBAL(float) p, GLOBAL(const float) u, float kept, float step, long long count) {
    for (size_t at = first_of_thread(); at < (size_t)count; at += threads_of_grid())
        p[at] = p[at] * kept - step * u[at];
}
