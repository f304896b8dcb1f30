// RMSNorm and LayerNorm over the last dimension, forward and backward: a warp a row.
#include "device.h"

DEVICE int row_of_warp() { return blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32; }

// y = x·s·weight, s = 1/√(mean x² + ε). Keeps s of each row.
template <class T>
DEVICE void rms_norm_to(GLOBAL(const float) x, GLOBAL(const float) weight, GLOBAL(T) y, GLOBAL(float) scales, int rows,
                        int width, float epsilon) {
    int row = row_of_warp(), lane = threadIdx.x % 32;
    if (row >= rows) return;
    size_t base = (size_t)row * width;
    float sum = 0;
    for (int at = lane; at < width; at += 32) sum += x[base + at] * x[base + at];
    float scale = rsqrtf(sum_of_warp(sum) / width + epsilon);
    if (lane == 0) scales[row] = scale;
    for (int at = lane; at < width; at += 32) put(y[base + at], x[base + at] * scale * weight[at]);
}
KERNEL(256, 4) rms_norm(GLOBAL(const float) x, GLOBAL(const float) weight, GLOBAL(float) y, GLOBAL(float) scales,
                        int rows, int width, float epsilon) {
    rms_norm_to(x, weight, y, scales, rows, width, epsilon);
}
// Also copies x, to which a product will be added.
KERNEL(256, 4) rms_norm_rounded(GLOBAL(const float) x, GLOBAL(const float) weight, GLOBAL(bf16) y,
                                GLOBAL(float) scales, GLOBAL(float) copy, int rows, int width, float epsilon) {
    rms_norm_to(x, weight, y, scales, rows, width, epsilon);
    int row = row_of_warp();
    if (row >= rows) return;
    for (size_t at = threadIdx.x % 32, base = (size_t)row * width; at < (size_t)width; at += 32)
        copy[base + at] = x[base + at];
}

// dx = s·(weight∘dy − x·s²·mean(weight∘dy∘x)), plus the gradient of the residual if there is one.
KERNEL(256, 4) rms_norm_backward(GLOBAL(const float) x, GLOBAL(const float) weight, GLOBAL(const float) dy,
                                 GLOBAL(const float) scales, GLOBAL(const float) residual, GLOBAL(float) dx, int rows,
                                 int width, int has_residual) {
    int row = row_of_warp(), lane = threadIdx.x % 32;
    if (row >= rows) return;
    size_t base = (size_t)row * width;
    float dot = 0, scale = scales[row];
    for (int at = lane; at < width; at += 32) dot += x[base + at] * weight[at] * dy[base + at];
    dot = sum_of_warp(dot) / width * scale * scale;
    for (int at = lane; at < width; at += 32) {
        float d = scale * (weight[at] * dy[base + at] - x[base + at] * dot);
        dx[base + at] = has_residual ? residual[base + at] + d : d;
    }
}

// Sums dy∘x·s over a share of the rows for 32 columns: the gradient of the weight, a row of `partial` for each share.
KERNEL(256, 4) rms_norm_weight(GLOBAL(const float) x, GLOBAL(const float) dy, GLOBAL(const float) scales,
                               GLOBAL(float) partial, int rows, int width, int share) {
    SHARED(memory);
    float* sums = (float*)memory;
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
    int column = blockIdx.x * 32 + lane, first = blockIdx.y * share, end = min(first + share, rows);
    float sum = 0;
    if (column < width)
        for (int row = first + warp; row < end; row += warps) {
            size_t at = (size_t)row * width + column;
            sum += dy[at] * x[at] * scales[row];
        }
    sums[threadIdx.x] = sum;
    __syncthreads();
    if (warp > 0 || column >= width) return;
    for (int other = 1; other < warps; other++) sum += sums[other * 32 + lane];
    partial[(size_t)blockIdx.y * width + column] = sum;
}

// y = (x − mean)·s·weight + bias, s = 1/√(variance + ε). Keeps the mean and s of each row.
KERNEL(256, 4) layer_norm(GLOBAL(const float) x, GLOBAL(const float) weight, GLOBAL(const float) bias,
                          GLOBAL(float) y, GLOBAL(float) means, GLOBAL(float) scales, int rows, int width,
                          float epsilon) {
    int row = row_of_warp(), lane = threadIdx.x % 32;
    if (row >= rows) return;
    size_t base = (size_t)row * width;
    float sum = 0, squares = 0;
    for (int at = lane; at < width; at += 32) sum += x[base + at];
    float mean = sum_of_warp(sum) / width;
    for (int at = lane; at < width; at += 32) squares += (x[base + at] - mean) * (x[base + at] - mean);
    float scale = rsqrtf(sum_of_warp(squares) / width + epsilon);
    if (lane == 0) { means[row] = mean; scales[row] = scale; }
    for (int at = lane; at < width; at += 32) y[base + at] = (x[base + at] - mean) * scale * weight[at] + bias[at];
}

// With g = weight∘dy and n = (x − mean)·s: dx = s·(g − mean(g) − n·mean(g∘n)).
KERNEL(256, 4) layer_norm_backward(GLOBAL(const float) x, GLOBAL(const float) weight, GLOBAL(const float) dy,
                                   GLOBAL(const float) means, GLOBAL(const float) scales, GLOBAL(float) dx, int rows,
                                   int width) {
    int row = row_of_warp(), lane = threadIdx.x % 32;
    if (row >= rows) return;
    size_t base = (size_t)row * width;
    float sum = 0, dot = 0, mean = means[row], scale = scales[row];
    for (int at = lane; at < width; at += 32) {
        float g = weight[at] * dy[base + at];
        sum += g;
        dot += g * (x[base + at] - mean) * scale;
    }
    sum = sum_of_warp(sum) / width;
    dot = sum_of_warp(dot) / width;
    for (int at = lane; at < width; at += 32)
        dx[base + at] = scale * (weight[at] * dy[base + at] - sum - (x[base + at] - mean) * scale * dot);
}

// Sums dy∘n and dy over a share of the rows for 32 columns: the gradients of the weight and of the bias.
KERNEL(256, 4) layer_norm_weight(GLOBAL(const float) x, GLOBAL(const float) dy, GLOBAL(const float) means,
                                 GLOBAL(const float) scales, GLOBAL(float) of_weight, GLOBAL(float) of_bias, int rows,
                                 int width, int share) {
    SHARED(memory);
    float* sums = (float*)memory;
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
    int column = blockIdx.x * 32 + lane, first = blockIdx.y * share, end = min(first + share, rows);
    float weight = 0, bias = 0;
    if (column < width)
        for (int row = first + warp; row < end; row += warps) {
            size_t at = (size_t)row * width + column;
            weight += dy[at] * (x[at] - means[row]) * scales[row];
            bias += dy[at];
        }
    sums[threadIdx.x] = weight;
    sums[blockDim.x + threadIdx.x] = bias;
    __syncthreads();
    if (warp > 0 || column >= width) return;
    for (int other = 1; other < warps; other++) {
        weight += sums[other * 32 + lane];
        bias += sums[blockDim.x + other * 32 + lane];
    }
    of_weight[(size_t)blockIdx.y * width + column] = weight;
    of_bias[(size_t)blockIdx.y * width + column] = bias;
}

// √Σ (weight + scale·product)² of each row, at least `least`: the norms of DoRA.
KERNEL(256, 4) merged_norms(GLOBAL(const float) weight, GLOBAL(const float) product, GLOBAL(float) norms, int rows,
                            int width, float scale, float least) {
    int row = row_of_warp(), lane = threadIdx.x % 32;
    if (row >= rows) return;
    size_t base = (size_t)row * width;
    float sum = 0;
    for (int at = lane; at < width; at += 32) {
        float merged = weight[base + at] + scale * product[base + at];
        sum += merged * merged;
    }
    float norm = sqrtf(sum_of_warp(sum));
    if (lane == 0) norms[row] = norm < least ? least : norm;
}
