// SwiGLU and GELU, forward and backward: one thread an element.
#include "device.h"

DEVICE float sigmoid(float x) { return 1 / (1 + exp_of(-x)); }

// y = silu(gate)·up, silu(x) = x/(1 + e⁻ˣ).
KERNEL(256, 4) swiglu(GLOBAL(const float) gate, GLOBAL(const float) up, GLOBAL(float) y, long long count) {
    for (size_t at = first_of_thread(); at < (size_t)count; at += threads_of_grid())
        y[at] = gate[at] * sigmoid(gate[at]) * up[at];
}
KERNEL(256, 4) swiglu_backward(GLOBAL(const float) gate, GLOBAL(const float) up, GLOBAL(const float) dy,
                               GLOBAL(float) dgate, GLOBAL(float) dup, long long count) {
    for (size_t at = first_of_thread(); at < (size_t)count; at += threads_of_grid()) {
        float g = gate[at], d = dy[at], s = sigmoid(g);
        dgate[at] = d * up[at] * s * (1 + g * (1 - s));
        dup[at] = d * g * s;
    }
}

// The same of rows with gate and up side by side, (rows, 2·width), rounded: keeps both sides for the backward pass.
KERNEL(256, 4) swiglu_sides(GLOBAL(const float) sides, GLOBAL(bf16) kept, GLOBAL(bf16) y, long long rows, int width) {
    for (size_t at = first_of_thread(); at < (size_t)rows * width; at += threads_of_grid()) {
        size_t gate = at / width * 2 * width + at % width, up = gate + width;
        float g = sides[gate], u = sides[up];
        kept[gate] = rounded(g);
        kept[up] = rounded(u);
        y[at] = rounded(g * sigmoid(g) * u);
    }
}
// The gradient of both sides, and y again.
KERNEL(256, 4) swiglu_sides_backward(GLOBAL(const bf16) kept, GLOBAL(const float) dy, GLOBAL(bf16) dsides,
                                     GLOBAL(bf16) y, long long rows, int width) {
    for (size_t at = first_of_thread(); at < (size_t)rows * width; at += threads_of_grid()) {
        size_t gate = at / width * 2 * width + at % width, up = gate + width;
        float g = widened(kept[gate]), u = widened(kept[up]), d = dy[at], s = sigmoid(g);
        dsides[gate] = rounded(d * u * s * (1 + g * (1 - s)));
        dsides[up] = rounded(d * g * s);
        y[at] = rounded(g * s * u);
    }
}

// tanh(x) = 1 − 2/(1 + e²ˣ).
DEVICE float tanh_of(float x) { return 1 - 2 / (1 + exp_of(2 * x)); }
constexpr float ROOT = 0.7978845608f, CUBIC = 0.044715f; // √(2/π)

// y = x/2·(1 + tanh(√(2/π)·(x + 0.044715·x³))).
KERNEL(256, 4) gelu(GLOBAL(const float) x, GLOBAL(float) y, long long count) {
    for (size_t at = first_of_thread(); at < (size_t)count; at += threads_of_grid()) {
        float v = x[at];
        y[at] = v / 2 * (1 + tanh_of(ROOT * (v + CUBIC * v * v * v)));
    }
}
KERNEL(256, 4) gelu_backward(GLOBAL(const float) x, GLOBAL(const float) dy, GLOBAL(float) dx, long long count) {
    for (size_t at = first_of_thread(); at < (size_t)count; at += threads_of_grid()) {
        float v = x[at], t = tanh_of(ROOT * (v + CUBIC * v * v * v));
        dx[at] = dy[at] * ((1 + t) / 2 + v / 2 * (1 - t * t) * ROOT * (1 + 3 * CUBIC * v * v));
    }
}
