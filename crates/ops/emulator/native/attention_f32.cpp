// The kernels of attention in f32 for one dimension of the heads, HEAD_DIM.
#include "launch.h"
#include "device.h"
namespace {
#include "attention_f32.cu"
}
#define JOINED(a, b) a##b
#define NAMED(dimension) JOINED(attention_f32_kernels_, dimension)
void NAMED(HEAD_DIM)(std::vector<emulated::Kernel>& to) {
#define ADD(name) to.push_back(emulated::kernel_of(#name, HEAD_DIM, name))
    ADD(attention_forward_f32);
    ADD(attention_shares_f32);
    ADD(attention_dq_f32);
    ADD(attention_dkdv_f32);
}
