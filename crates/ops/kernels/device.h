// The vocabulary of the kernels. NVRTC compiles it for a GPU, without headers of the toolkit. For the tests, a C++
// compiler compiles it, and emulate.h supplies the parts that are built into CUDA.
#pragma once
#ifdef __CUDACC__
typedef unsigned short bf16; // the bits of a bfloat16
#define INFINITY __int_as_float(0x7f800000)
// Declares a kernel with the threads of a block and the blocks that a multiprocessor must have room for, at least.
#define KERNEL(threads, blocks) extern "C" __global__ void __launch_bounds__(threads, blocks)
#define DEVICE static __device__ __forceinline__
// Declares a pointer to memory of the device, or one that is itself stored there. The emulator counts what is read and
// written through them, and refuses what lies outside of an argument's memory.
#define GLOBAL(type) type* __restrict__
#define STORED(type) type*
#define SHARED(name) extern __shared__ __align__(16) unsigned char name[]
DEVICE float from_bits(unsigned x) { return __uint_as_float(x); }
// Round to the nearest bf16, ties to even.
DEVICE bf16 rounded(float x) { unsigned short r; asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(r) : "f"(x)); return r; }
DEVICE unsigned pair(float low, float high) {
    unsigned r;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
    return r;
}
DEVICE float multiply_add(float a, float b, float c) { return fmaf(a, b, c); }
DEVICE float exp2_of(float x) { float y; asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x)); return y; }
DEVICE float shuffle_xor(float x, int mask) { return __shfl_xor_sync(0xffffffffu, x, mask); }
DEVICE unsigned shared_address(const void* p) { return (unsigned)__cvta_generic_to_shared(p); }
// Adds a·b to d on tensor cores: (16 × 16)·(16 × 8), in the register layout of mma.m16n8k16.
DEVICE void multiply(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
                 "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
// Loads four 8 × 8 matrices; lanes 0–7, 8–15, 16–23 and 24–31 point to the rows of one each.
DEVICE void load_matrices(unsigned (&r)[4], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(shared_address(row)) : "memory");
}
DEVICE void load_transposed(unsigned (&r)[4], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(shared_address(row)) : "memory");
}
// Begins to copy 16 bytes to shared memory, or zeros if there is nothing to copy.
DEVICE void copy_async(void* to, const bf16* from, bool there) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
                 :: "r"(shared_address(to)), "l"(from), "r"(there ? 16 : 0) : "memory");
}
// Ends a group of copies.
DEVICE void end_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Waits until at most `pending` of this thread's groups are under way.
template <int pending> DEVICE void await_copies() {
    asm volatile("cp.async.wait_group %0;" :: "n"(pending) : "memory");
}
DEVICE unsigned* pairs_of(bf16* p) { return (unsigned*)p; }
#else
#include "emulate.h"
#endif

constexpr float LOG2_E = 1.44269504f, LN_2 = 0.69314718f;
// The target of a position that is not learned.
constexpr unsigned IGNORED = 0xffffffffu;

DEVICE float widened(bf16 x) { return from_bits((unsigned)x << 16); }
DEVICE float value_of(float x) { return x; }
DEVICE float value_of(bf16 x) { return widened(x); }
DEVICE void put(float& to, float x) { to = x; }
DEVICE void put(bf16& to, float x) { to = rounded(x); }

DEVICE float exp_of(float x) { return exp2_of(x * LOG2_E); }
DEVICE float larger(float a, float b) { return a > b || a != a ? a : b; } // NaN stays NaN

DEVICE float sum_of_warp(float x) {
    for (int mask = 16; mask > 0; mask >>= 1) x += shuffle_xor(x, mask);
    return x;
}
// Adds over the threads of a block, in the same order at every run; `scratch` holds 32 numbers of shared memory.
DEVICE float sum_of_block(float x, float* scratch) {
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
    x = sum_of_warp(x);
    __syncthreads(); // the last sum has been read
    if (lane == 0) scratch[warp] = x;
    __syncthreads();
    float sum = 0;
    for (int at = 0; at < warps; at++) sum += scratch[at];
    return sum;
}
// The first element of a thread and the step to its next, where all threads of a launch share the elements.
DEVICE size_t first_of_thread() { return (size_t)blockIdx.x * blockDim.x + threadIdx.x; }
DEVICE size_t threads_of_grid() { return (size_t)gridDim.x * blockDim.x; }
