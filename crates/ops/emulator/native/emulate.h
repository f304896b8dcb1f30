// The parts that are built into CUDA, for a C++ compiler. The blocks of a launch run one after the other; the threads
// of a block are fibers that take turns at barriers and at the operations of a warp.
#pragma once
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>
typedef unsigned short bf16;
struct dim3 { unsigned x = 1, y = 1, z = 1; };
namespace emulated {

// A copy to shared memory that was begun and not awaited.
struct Copy { void* to; const void* from; bool there; };

struct Fiber {
    void* stack_pointer = nullptr;
    unsigned char* stack = nullptr;
    dim3 thread;
    int warp = 0, lane = 0;
    enum { Ready, Waiting, Done } state = Ready;
    const unsigned* watched = nullptr; // waits until this is no longer `seen`
    unsigned seen = 0;
    std::vector<std::vector<Copy>> groups;
    std::vector<Copy> open;
};

// Places of the pointers that a kernel takes as arguments, by the arguments' numbers; the last is that of the pointers
// that lie in memory themselves.
constexpr unsigned SLOTS = 25, STORED_SLOT = SLOTS - 1;
// A GPU moves memory in sectors of 32 bytes.
constexpr uint64_t SECTOR = 32;

// The state of a launch. Each thread of the test program may run its own.
struct State {
    Fiber* current = nullptr;
    dim3 block, block_size, grid_size;
    unsigned char* shared = nullptr;
    bool eager = false; // copies are made when they begin, not when they are awaited: a GPU may do either
    uint64_t read = 0, written = 0, operations = 0; // bytes of global memory; counted multiply-adds
    bool tracked = false; // notes the sectors that each block reads and writes
    std::vector<uint64_t> sectors[2][SLOTS];
    uint64_t moved[2][SLOTS] = {}; // bytes of the sectors, each counted once for a block
};
extern thread_local State state;

// Notes the sectors of an access; `base` is where the memory begins.
inline void note(bool written, unsigned slot, uint64_t from, uint64_t base, size_t bytes) {
    for (uint64_t at = (from - base) / SECTOR; at <= (from - base + bytes - 1) / SECTOR; at++)
        state.sectors[written][slot].push_back(at);
}

void wait_while(const unsigned* watched);
void barrier();
// Ends the launch with an error.
[[noreturn]] void fail(const char* reason);
// Every lane leaves `count` words and sees those of all lanes of its warp.
const unsigned (*exchange(const unsigned* words, int count))[12];

inline unsigned bits(float x) { unsigned r; memcpy(&r, &x, 4); return r; }
inline float number(unsigned x) { float r; memcpy(&r, &x, 4); return r; }

// An element of global memory: counts what is read and written.
template <class T> struct Element {
    T* at;
    uint64_t base;
    unsigned slot;
    operator T() const {
        state.read += sizeof(T);
        if (state.tracked) note(false, slot, (uint64_t)at, base, sizeof(T));
        return *at;
    }
    void operator=(const T& x) const {
        state.written += sizeof(T);
        if (state.tracked) note(true, slot, (uint64_t)at, base, sizeof(T));
        *at = x;
    }
    void operator=(const Element& x) const { *this = (T)x; }
};
// A pointer to global memory that was an argument, with the bounds of its memory and the argument's number.
template <class T> struct Global {
    T* at;
    uint64_t low, high;
    unsigned slot;
    operator Global<const T>() const { return {at, low, high, slot}; }
    void check(size_t index, size_t bytes) const {
        uint64_t from = (uint64_t)(at + index);
        if (from < low || from + bytes > high) fail("an access outside of an argument's memory");
    }
    Global operator+(size_t index) const { return {at + index, low, high, slot}; }
    Element<T> operator[](size_t index) const { check(index, sizeof(T)); return {at + index, low, slot}; }
};
template <class T> struct Global<const T> {
    const T* at;
    uint64_t low, high;
    unsigned slot;
    void check(size_t index, size_t bytes) const {
        uint64_t from = (uint64_t)(at + index);
        if (from < low || from + bytes > high) fail("an access outside of an argument's memory");
    }
    Global operator+(size_t index) const { return {at + index, low, high, slot}; }
    T operator[](size_t index) const {
        check(index, sizeof(T));
        return Element<const T>{at + index, low, slot};
    }
};
// A pointer that lies in global memory itself: without bounds.
template <class T> struct Stored {
    T* at;
    Element<T> operator[](size_t index) const { return {at + index, 0, STORED_SLOT}; }
};
template <class T> struct Stored<const T> {
    const T* at;
    T operator[](size_t index) const { return Element<const T>{at + index, 0, STORED_SLOT}; }
};

} // namespace emulated

#define KERNEL(threads, blocks) static void
#define DEVICE static inline
#define GLOBAL(type) emulated::Global<type>
#define STORED(type) emulated::Stored<type>
#define SHARED(name) unsigned char* name = emulated::state.shared
#define threadIdx (emulated::state.current->thread)
#define blockIdx (emulated::state.block)
#define blockDim (emulated::state.block_size)
#define gridDim (emulated::state.grid_size)
#define __syncthreads emulated::barrier

DEVICE float from_bits(unsigned x) { return emulated::number(x); }
DEVICE bf16 rounded(float x) {
    unsigned u = emulated::bits(x);
    if (x != x) return 0x7fff; // as cvt.rn.bf16.f32
    return (bf16)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}
DEVICE unsigned pair(float low, float high) { return rounded(low) | (unsigned)rounded(high) << 16; }
DEVICE float multiply_add(float a, float b, float c) {
    emulated::state.operations++;
    return a * b + c;
}
DEVICE float exp2_of(float x) { return exp2f(x); }
DEVICE float rsqrtf(float x) { return 1.0f / sqrtf(x); }
DEVICE int min(int a, int b) { return a < b ? a : b; }
DEVICE int max(int a, int b) { return a > b ? a : b; }
DEVICE void put(emulated::Element<float> to, float x) { to = x; }
DEVICE void put(emulated::Element<bf16> to, float x) { to = rounded(x); }
DEVICE emulated::Global<unsigned> pairs_of(emulated::Global<bf16> p) { return {(unsigned*)p.at, p.low, p.high, p.slot}; }

DEVICE float shuffle_xor(float x, int mask) {
    unsigned word = emulated::bits(x);
    return emulated::number(emulated::exchange(&word, 1)[emulated::state.current->lane ^ mask][0]);
}
DEVICE float half_of(unsigned word, int half) { return emulated::number(half ? word & 0xffff0000u : word << 16); }
// mma.m16n8k16: a lane of group g = lane/4 and quad t = lane%4 has the elements (g, 2t), (g, 2t + 1), (g + 8, 2t),
// (g + 8, 2t + 1) of d, and those of a and b that the PTX manual lists.
DEVICE void multiply(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    unsigned words[6] = {a[0], a[1], a[2], a[3], b[0], b[1]};
    auto all = emulated::exchange(words, 6);
    int group = emulated::state.current->lane >> 2, quad = emulated::state.current->lane & 3;
    for (int at = 0; at < 4; at++) {
        int row = group + 8 * (at >> 1), column = 2 * quad + (at & 1);
        float sum = d[at];
        for (int k = 0; k < 16; k++) {
            unsigned left = all[(row & 7) * 4 + (k & 7) / 2][(row >> 3) + 2 * (k >> 3)];
            unsigned right = all[column * 4 + (k & 7) / 2][4 + (k >> 3)];
            sum += half_of(left, k & 1) * half_of(right, k & 1);
        }
        d[at] = sum;
    }
    emulated::state.operations += 64;
}
DEVICE void load_matrices_of(unsigned (&r)[4], const void* row, bool transposed) {
    uint64_t address = (uint64_t)row;
    if (address % 16) emulated::fail("ldmatrix: the address of a row is no multiple of 16");
    unsigned words[2] = {(unsigned)address, (unsigned)(address >> 32)};
    auto all = emulated::exchange(words, 2);
    int group = emulated::state.current->lane >> 2, quad = emulated::state.current->lane & 3;
    for (int matrix = 0; matrix < 4; matrix++) {
        auto at = [&](int row, int column) -> unsigned {
            auto& word = all[matrix * 8 + row];
            return ((const bf16*)((uint64_t)word[1] << 32 | word[0]))[column];
        };
        r[matrix] = transposed ? at(2 * quad, group) | at(2 * quad + 1, group) << 16
                               : at(group, 2 * quad) | at(group, 2 * quad + 1) << 16;
    }
    unsigned nothing = 0;
    emulated::exchange(&nothing, 1); // no lane goes on before all have read
}
DEVICE void load_matrices(unsigned (&r)[4], const void* row) { load_matrices_of(r, row, false); }
DEVICE void load_transposed(unsigned (&r)[4], const void* row) { load_matrices_of(r, row, true); }
namespace emulated {
inline void make(const Copy& copy) {
    if (copy.there) {
        memcpy(copy.to, copy.from, 16);
    } else {
        memset(copy.to, 0, 16);
    }
}
} // namespace emulated
DEVICE void copy_async(void* to, emulated::Global<const bf16> from, bool there) {
    if ((uint64_t)to % 16 || (uint64_t)from.at % 16) emulated::fail("cp.async: an address is no multiple of 16");
    if (there) {
        from.check(0, 16);
        emulated::state.read += 16;
        if (emulated::state.tracked) emulated::note(false, from.slot, (uint64_t)from.at, from.low, 16);
    }
    emulated::Copy copy = {to, from.at, there};
    if (emulated::state.eager) emulated::make(copy);
    else emulated::state.current->open.push_back(copy);
}
DEVICE void end_copies() {
    auto& fiber = *emulated::state.current;
    fiber.groups.push_back(std::move(fiber.open));
    fiber.open.clear();
}
template <int pending> DEVICE void await_copies() {
    auto& groups = emulated::state.current->groups;
    while ((int)groups.size() > pending) {
        for (auto& copy : groups.front()) emulated::make(copy);
        groups.erase(groups.begin());
    }
}
