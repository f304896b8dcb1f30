// Cross-entropy with z-loss, scores, and the divergence from a teacher: a block a row of logits.
#include "device.h"

struct LogSum { float most, total; };

// The largest of a row's logits·factor, and the sum of the exponentials of their differences from it.
DEVICE LogSum log_sum_of(GLOBAL(const float) logits, int vocabulary, float factor, float* scratch) {
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
    float most = -INFINITY, sum = 0;
    for (int at = threadIdx.x; at < vocabulary; at += blockDim.x) {
        float x = logits[at] * factor;
        if (!(x <= most)) { // NaN as well
            sum = most == -INFINITY ? 0 : sum * exp_of(most - x);
            most = x;
        }
        sum += exp_of(x - most);
    }
    auto join = [](float& most, float& sum, float other, float others) {
        float top = larger(other, most), still = top == -INFINITY ? 0 : top;
        sum = sum * exp_of(most - still) + others * exp_of(other - still);
        most = top;
    };
    for (int mask = 16; mask > 0; mask >>= 1) {
        float other = shuffle_xor(most, mask), others = shuffle_xor(sum, mask);
        join(most, sum, other, others);
    }
    __syncthreads(); // what stood in `scratch` has been read
    if (lane == 0) {
        scratch[warp] = most;
        scratch[32 + warp] = sum;
    }
    __syncthreads();
    most = scratch[0];
    sum = scratch[32];
    for (int at = 1; at < warps; at++) join(most, sum, scratch[at], scratch[32 + at]);
    return {most, sum};
}

// nats = −ln p(target) + z·(ln Σ)², and the gradient p·(1 + 2·z·ln Σ) − [target] by the logits. A row with an ignored
// target has no loss and a gradient of zeros, whatever its logits.
template <class T>
DEVICE void cross_entropy(GLOBAL(const float) logits, GLOBAL(const unsigned) targets, GLOBAL(T) gradient,
                          GLOBAL(float) nats, int vocabulary, float z_loss) {
    SHARED(memory);
    size_t row = blockIdx.x, base = row * vocabulary;
    unsigned target = targets[row];
    if (target == IGNORED) {
        for (int at = threadIdx.x; at < vocabulary; at += blockDim.x) put(gradient[base + at], 0);
        if (threadIdx.x == 0) nats[row] = 0;
        return;
    }
    LogSum found = log_sum_of(logits + base, vocabulary, 1, (float*)memory);
    float log_sum = found.most + logf(found.total), factor = (1 + 2 * z_loss * log_sum) / found.total;
    float chosen = logits[base + target];
    for (int at = threadIdx.x; at < vocabulary; at += blockDim.x) {
        float p = exp_of(logits[base + at] - found.most) * factor;
        put(gradient[base + at], at == (int)target ? p - 1 : p);
    }
    if (threadIdx.x == 0) nats[row] = log_sum - chosen + z_loss * log_sum * log_sum;
}
KERNEL(256, 4) cross_entropy_f32(GLOBAL(const float) logits, GLOBAL(const unsigned) targets, GLOBAL(float) gradient,
                                 GLOBAL(float) nats, int vocabulary, float z_loss) {
    cross_entropy(logits, targets, gradient, nats, vocabulary, z_loss);
}
KERNEL(256, 4) cross_entropy_bf16(GLOBAL(const float) logits, GLOBAL(const unsigned) targets, GLOBAL(bf16) gradient,
                                  GLOBAL(float) nats, int vocabulary, float z_loss) {
    cross_entropy(logits, targets, gradient, nats, vocabulary, z_loss);
}

// −ln p(target) of each row, and 1 if the target is the likeliest token, the first of equal ones. Both are 0 for an
// ignored target.
KERNEL(256, 4) score(GLOBAL(const float) logits, GLOBAL(const unsigned) targets, GLOBAL(float) nats,
                     GLOBAL(unsigned) correct, int vocabulary) {
    SHARED(memory);
    size_t row = blockIdx.x, base = row * vocabulary;
    unsigned target = targets[row];
    if (target == IGNORED) {
        if (threadIdx.x == 0) { nats[row] = 0; correct[row] = 0; }
        return;
    }
    LogSum found = log_sum_of(logits + base, vocabulary, 1, (float*)memory);
    float chosen = logits[base + target], before = 0;
    for (int at = threadIdx.x; at < (int)target; at += blockDim.x) before += logits[base + at] == found.most;
    before = sum_of_block(before, (float*)memory);
    if (threadIdx.x > 0) return;
    nats[row] = found.most + logf(found.total) - chosen;
    correct[row] = chosen == found.most && before == 0; // false where anything is NaN
}

// Σ p·(ln p − ln q) of a teacher p and a student q over logits·factor, with the gradient q − p by the student's scaled
// logits, times `slope`.
KERNEL(256, 4) divergence(GLOBAL(const float) student, GLOBAL(const float) teacher, GLOBAL(float) gradient,
                          GLOBAL(float) nats, int vocabulary, float factor, float slope) {
    SHARED(memory);
    size_t row = blockIdx.x, base = row * vocabulary;
    LogSum of_student = log_sum_of(student + base, vocabulary, factor, (float*)memory);
    LogSum of_teacher = log_sum_of(teacher + base, vocabulary, factor, (float*)memory);
    float q_sum = of_student.most + logf(of_student.total), p_sum = of_teacher.most + logf(of_teacher.total), sum = 0;
    for (int at = threadIdx.x; at < vocabulary; at += blockDim.x) {
        float log_q = student[base + at] * factor - q_sum, log_p = teacher[base + at] * factor - p_sum;
        float p = exp_of(log_p);
        sum += p * (log_p - log_q);
        gradient[base + at] = slope * (exp_of(log_q) - p);
    }
    sum = sum_of_block(sum, (float*)memory);
    if (threadIdx.x == 0) nats[row] = sum;
}

// The same for a teacher whose k likeliest tokens are known: all other tokens count as one event of probability `rest`,
// which is spread over them as the student spreads its own.
KERNEL(256, 4) divergence_listed(GLOBAL(const float) student, GLOBAL(const unsigned) ids,
                                 GLOBAL(const float) probabilities, GLOBAL(const float) rests, GLOBAL(float) gradient,
                                 GLOBAL(float) nats, int vocabulary, int k, float factor, float slope) {
    SHARED(memory);
    size_t row = blockIdx.x, base = row * vocabulary;
    LogSum found = log_sum_of(student + base, vocabulary, factor, (float*)memory);
    float log_sum = found.most + logf(found.total), sum = 0, rest = rests[row];
    for (int at = threadIdx.x; at < vocabulary; at += blockDim.x)
        gradient[base + at] = exp_of(student[base + at] * factor - log_sum);
    __syncthreads();
    for (int at = threadIdx.x; at < k; at += blockDim.x) gradient[base + ids[row * k + at]] = -1; // marks what is listed
    __syncthreads();
    for (int at = threadIdx.x; at < vocabulary; at += blockDim.x) {
        float q = gradient[base + at];
        if (!(q < 0)) sum += q;
    }
    float others = sum_of_block(sum, (float*)memory);
    others = others < 1e-30f ? 1e-30f : others;
    for (int at = threadIdx.x; at < vocabulary; at += blockDim.x) {
        float q = gradient[base + at];
        if (!(q < 0)) gradient[base + at] = slope * (q - q * (rest / others));
    }
    __syncthreads(); // the marks have been read
    sum = 0;
    for (int at = threadIdx.x; at < k; at += blockDim.x) {
        unsigned id = ids[row * k + at];
        float p = probabilities[row * k + at], log_q = student[base + id] * factor - log_sum;
        gradient[base + id] = slope * (exp_of(log_q) - p);
        if (p > 0) sum += p * (logf(p) - log_q);
    }
    sum = sum_of_block(sum, (float*)memory);
    if (threadIdx.x == 0) nats[row] = sum + (rest > 0 ? rest * (logf(rest) - logf(others)) : 0);
}
