// Launching a kernel by its name.
#pragma once
#include "emulate.h"
#include <functional>
#include <string>
namespace emulated {

// The order in which the threads of a block take turns. With Ahead and Behind, one warp after the other goes as far as
// it can.
enum Order { Forward, Backward, Shuffled, Ahead, Behind };
struct Schedule { Order order; bool eager; unsigned seed; };

// The blocks of a launch, the threads of a block, and the only block to run, unless it is ALL.
constexpr uint64_t ALL = ~(uint64_t)0;
struct Geometry { dim3 grid, threads; unsigned shared; uint64_t block; };

// Runs a kernel; returns an error, or an empty text. Shared memory is filled with NaN before each block.
std::string launch(const Geometry& geometry, const Schedule& schedule, const std::function<void()>& kernel);

// An argument of up to 8 bytes; with `bytes` a pointer to so many.
struct Argument { uint64_t word, bytes; };
struct Kernel { const char* name; int head_dim; unsigned arguments; std::function<void(const Argument*)> run; };

template <class T> struct Typed {
    static T of(const Argument& argument, unsigned) {
        static_assert(sizeof(T) <= 8, "an argument of more than 8 bytes");
        T value;
        memcpy(&value, &argument.word, sizeof(T));
        return value;
    }
};
template <class T> struct Typed<Global<T>> {
    static Global<T> of(const Argument& argument, unsigned slot) {
        return {(T*)argument.word, argument.word, argument.word + argument.bytes, slot};
    }
};
template <class... P, size_t... I>
Kernel kernel_of(const char* name, int head_dim, void (*function)(P...), std::index_sequence<I...>) {
    static_assert(sizeof...(P) < SLOTS, "a kernel with more arguments than slots");
    return {name, head_dim, sizeof...(P), [function](const Argument* of) { function(Typed<P>::of(of[I], I)...); }};
}
template <class... P> Kernel kernel_of(const char* name, int head_dim, void (*function)(P...)) {
    return kernel_of(name, head_dim, function, std::index_sequence_for<P...>{});
}

} // namespace emulated
