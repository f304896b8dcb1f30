// All kernels by name, and the function that Rust calls.
#include "launch.h"
#include "device.h"
namespace {
#include "activation.cu"
#include "adamw.cu"
#include "cast.cu"
#include "dropout.cu"
#include "embedding.cu"
#include "loss.cu"
#include "muon.cu"
#include "norm.cu"
#include "reduce.cu"
#include "rope.cu"
}
using emulated::Kernel;
#define DIMENSION(d) void attention_kernels_##d(std::vector<Kernel>&), attention_f32_kernels_##d(std::vector<Kernel>&);
#include "dimensions.h"
#undef DIMENSION

static std::vector<Kernel> all() {
    std::vector<Kernel> to;
#define ADD(name) to.push_back(emulated::kernel_of(#name, 0, name))
    ADD(adamw);
    ADD(cross_entropy_bf16);
    ADD(cross_entropy_f32);
    ADD(divergence);
    ADD(divergence_listed);
    ADD(dropout);
    ADD(embedding);
    ADD(embedding_backward);
    ADD(gelu);
    ADD(gelu_backward);
    ADD(layer_norm_backward);
    ADD(layer_norm);
    ADD(layer_norm_weight);
    ADD(merged_norms);
    ADD(muon_apply);
    ADD(muon_momentum);
    ADD(muon_polynomial);
    ADD(rms_norm_backward);
    ADD(rms_norm);
    ADD(rms_norm_rounded);
    ADD(rms_norm_weight);
    ADD(rope);
    ADD(rope_sides);
    ADD(rope_sides_rounded);
    ADD(round_joined);
    ADD(round_rows);
    ADD(scale);
    ADD(score);
    ADD(square_sums);
    ADD(sum_rows);
    ADD(total);
    ADD(swiglu_backward);
    ADD(swiglu);
    ADD(swiglu_sides);
    ADD(swiglu_sides_backward);
    ADD(widen);
#define DIMENSION(d) attention_kernels_##d(to), attention_f32_kernels_##d(to);
#include "dimensions.h"
    return to;
}

struct Request {
    const char* name;
    int head_dim;
    unsigned grid[3], block[3], shared;
    unsigned order, eager, seed;
    const emulated::Argument* arguments;
    unsigned argument_count, moved_count;
    uint64_t only; // the only block to run, or emulated::ALL
    // Null, or room for the bytes read and written through each argument, and through pointers that lie in memory.
    uint64_t (*moved)[2];
};
struct Counts { uint64_t read, written, operations; };

// Runs a kernel. Returns 0, or 1 with the reason in `reason`.
extern "C" int polymath_emulate(const Request* request, Counts* counts, char* reason, size_t length) {
    static const std::vector<Kernel> kernels = all();
    std::string failure = "there is no such kernel";
    for (auto& kernel : kernels) {
        if (strcmp(kernel.name, request->name) || kernel.head_dim != request->head_dim) continue;
        if (kernel.arguments != request->argument_count) {
            failure = "it takes " + std::to_string(kernel.arguments) + " arguments";
            break;
        }
        auto& state = emulated::state;
        state.read = state.written = state.operations = 0;
        state.tracked = request->moved;
        memset(state.moved, 0, sizeof state.moved);
        emulated::Schedule schedule = {(emulated::Order)request->order, request->eager != 0, request->seed};
        dim3 grid = {request->grid[0], request->grid[1], request->grid[2]};
        dim3 block = {request->block[0], request->block[1], request->block[2]};
        emulated::Geometry geometry = {grid, block, request->shared, request->only};
        failure = emulated::launch(geometry, schedule, [&] { kernel.run(request->arguments); });
        *counts = {state.read, state.written, state.operations};
        for (unsigned at = 0; at < request->moved_count; at++) {
            unsigned slot = at + 1 == request->moved_count ? emulated::STORED_SLOT : at;
            request->moved[at][0] = state.moved[0][slot];
            request->moved[at][1] = state.moved[1][slot];
        }
        break;
    }
    if (failure.empty()) return 0;
    size_t end = failure.copy(reason, length - 1);
    reason[end] = 0;
    return 1;
}
