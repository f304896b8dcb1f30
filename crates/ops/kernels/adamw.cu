// AdamW for many tensors in one launch: a block a stretch of a tensor.
#include "device.h"

// `kept` is 1 − η·λ.
struct Update {
    STORED(float) p;
    STORED(const float) g;
    STORED(float) m;
    STORED(float) v;
    unsigned count;
    float kept;
};

// m ← β₁·m + (1 − β₁)·g, v ← β₂·v + (1 − β₂)·g², p ← kept·p − step·m/(√v·spread + ε), with step = η/(1 − β₁ᵗ) and
// spread = 1/√(1 − β₂ᵗ).
KERNEL(256, 4) adamw(GLOBAL(const Update) updates, float scale, float beta1, float beta2, float step, float spread,
                     float epsilon) {
    Update u = updates[blockIdx.x];
    for (unsigned at = threadIdx.x; at < u.count; at += blockDim.x) {
        float g = u.g[at] * scale;
        float m = beta1 * u.m[at] + (1 - beta1) * g;
        float v = beta2 * u.v[at] + (1 - beta2) * g * g;
        u.m[at] = m;
        u.v[at] = v;
        u.p[at] = u.p[at] * u.kept - step * (m / (sqrtf(v) * spread + epsilon));
    }
}
