// The kernels of attention for one dimension of the heads, HEAD_DIM.
#include "launch.h"
#include "device.h"
namespace {
#include "attention_forward.cu"
#include "attention_backward.cu"
}
#define JOINED(a, b) a##b
#define NAMED(dimension) JOINED(attention_kernels_, dimension)
void NAMED(HEAD_DIM)(std::vector<emulated::Kernel>& to) {
#define ADD(name) to.push_back(emulated::kernel_of(#name, HEAD_DIM, name))
    ADD(attention_forward);
    ADD(attention_shares);
    ADD(attention_dq);
    ADD(attention_dkdv);
}
