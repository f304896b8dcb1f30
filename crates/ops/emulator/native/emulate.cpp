// The scheduler of the fibers.
#if !defined(__x86_64__)
#define _XOPEN_SOURCE 700 // ucontext.h on macOS
#define _DARWIN_C_SOURCE
#endif
#include "emulate.h"
#include "launch.h"
#include <algorithm>
#include <cstdio>
#include <random>
#include <string>
#include <sys/mman.h>
#include <unistd.h>
#if !defined(__x86_64__)
#include <ucontext.h>
#endif
namespace emulated {
thread_local State state;

static constexpr size_t STACK = 128 << 10;
// Stacks of earlier launches, to be used again.
struct Stacks {
    std::vector<unsigned char*> all;
    ~Stacks() {
        for (auto stack : all) munmap(stack, STACK);
    }
};
static thread_local Stacks stacks;
static thread_local unsigned block_generation, block_arrived, block_threads;
struct Warp { unsigned generation = 0, arrived = 0; unsigned slots[2][32][12]; };
static thread_local std::vector<Warp> warps;
static thread_local const std::function<void()>* body;
static thread_local std::string failure;

static void enter();
#if defined(__x86_64__)
static thread_local void* scheduler;
// Saves the registers that a function keeps, and changes the stack.
extern "C" void polymath_switch_stack(void** save, void* load);
asm(".text\n"
#if defined(__APPLE__)
    ".globl _polymath_switch_stack\n_polymath_switch_stack:\n"
#else
    ".globl polymath_switch_stack\npolymath_switch_stack:\n"
#endif
    "push %rbp\npush %rbx\npush %r12\npush %r13\npush %r14\npush %r15\n"
    "mov %rsp,(%rdi)\nmov %rsi,%rsp\n"
    "pop %r15\npop %r14\npop %r13\npop %r12\npop %rbx\npop %rbp\nret\n");
static void prepare(Fiber& fiber) {
    auto top = (void**)(fiber.stack + STACK - 16);
    *--top = nullptr;
    *--top = (void*)enter;
    for (int saved = 0; saved < 6; saved++) *--top = nullptr;
    fiber.stack_pointer = top;
}
static void resume(Fiber& fiber) { polymath_switch_stack(&scheduler, fiber.stack_pointer); }
static void yield() { polymath_switch_stack(&state.current->stack_pointer, scheduler); }
#else
static thread_local ucontext_t of_scheduler;
// A fiber's context stands at the lower end of its stack.
static constexpr size_t CONTEXT = 16 << 10;
static_assert(sizeof(ucontext_t) <= CONTEXT, "a context larger than its place");
static ucontext_t& context(Fiber& fiber) { return *(ucontext_t*)fiber.stack; }
static void prepare(Fiber& fiber) {
    ucontext_t& of = context(fiber);
    getcontext(&of);
    of.uc_stack.ss_sp = fiber.stack + CONTEXT;
    of.uc_stack.ss_size = STACK - CONTEXT;
    of.uc_link = nullptr;
    makecontext(&of, enter, 0);
}
static void resume(Fiber& fiber) { swapcontext(&of_scheduler, &context(fiber)); }
static void yield() { swapcontext(&context(*state.current), &of_scheduler); }
#endif

static void enter() {
    (*body)();
    state.current->state = Fiber::Done;
    for (;;) yield();
}
void fail(const char* reason) {
    if (failure.empty()) failure = reason;
    for (;;) yield();
}
void wait_while(const unsigned* watched) {
    state.current->watched = watched;
    state.current->seen = *watched;
    state.current->state = Fiber::Waiting;
    yield();
}
void barrier() {
    if (++block_arrived == block_threads) {
        block_arrived = 0;
        block_generation++;
    } else {
        wait_while(&block_generation);
    }
}
const unsigned (*exchange(const unsigned* words, int count))[12] {
    Warp& warp = warps[state.current->warp];
    auto slots = warp.slots[warp.generation & 1];
    for (int at = 0; at < count; at++) slots[state.current->lane][at] = words[at];
    if (++warp.arrived == 32) {
        warp.arrived = 0;
        warp.generation++;
    } else {
        wait_while(&warp.generation);
    }
    return slots;
}

static unsigned char* take_stack() {
    if (stacks.all.empty())
        return (unsigned char*)mmap(nullptr, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANON, -1, 0);
    unsigned char* stack = stacks.all.back();
    stacks.all.pop_back();
    return stack;
}

// Lets the threads of a block take turns until all are done.
static void run_block(std::vector<Fiber>& fibers, std::vector<unsigned>& turn, Order order, std::mt19937& random) {
    for (unsigned left = block_threads; left > 0;) {
        if (order == Shuffled) std::shuffle(turn.begin(), turn.end(), random);
        bool moved = false, again = false;
        for (unsigned place = 0; place < block_threads; place++) {
            Fiber& fiber = fibers[turn[place]];
            if (fiber.state == Fiber::Waiting && *fiber.watched != fiber.seen) fiber.state = Fiber::Ready;
            if (fiber.state == Fiber::Ready) {
                moved = again = true;
                state.current = &fiber;
                resume(fiber);
                if (!failure.empty()) return;
                if (fiber.state == Fiber::Done) left--;
            }
            // One warp after the other goes as far as it can.
            if ((order == Ahead || order == Behind) && place % 32 == 31 && again) {
                place -= 32;
                again = false;
            }
        }
        if (!moved) {
            char text[120];
            snprintf(text, sizeof text, "block (%u, %u, %u): a barrier that not all threads reach", state.block.x,
                     state.block.y, state.block.z);
            failure = text;
            return;
        }
    }
}

// Adds up the sectors of a block, each once.
static void end_tracking() {
    for (int written = 0; written < 2; written++)
        for (unsigned slot = 0; slot < SLOTS; slot++) {
            auto& sectors = state.sectors[written][slot];
            std::sort(sectors.begin(), sectors.end());
            uint64_t distinct = std::unique(sectors.begin(), sectors.end()) - sectors.begin();
            state.moved[written][slot] += distinct * SECTOR;
            sectors.clear();
        }
}

std::string launch(const Geometry& geometry, const Schedule& schedule, const std::function<void()>& kernel) {
    dim3 grid = geometry.grid, threads = geometry.threads;
    unsigned shared = geometry.shared;
    state.grid_size = grid;
    state.block_size = threads;
    state.eager = schedule.eager;
    body = &kernel;
    failure.clear();
    block_threads = threads.x * threads.y * threads.z;
    if (block_threads == 0 || block_threads % 32 || block_threads > 1024) return "a block of no whole number of warps";
    std::vector<Fiber> fibers(block_threads);
    for (auto& fiber : fibers) fiber.stack = take_stack();
    // Shared memory ends at a page that can't be touched.
    size_t page = sysconf(_SC_PAGESIZE), bytes = (shared + page - 1) / page * page + page;
    auto memory = (unsigned char*)mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANON, -1, 0);
    mprotect(memory + bytes - page, page, PROT_NONE);
    state.shared = memory + bytes - page - (shared + 15) / 16 * 16;
    std::mt19937 random(schedule.seed);
    std::vector<unsigned> turn(block_threads);
    bool reversed = schedule.order == Backward || schedule.order == Behind;
    for (unsigned at = 0; at < block_threads; at++) turn[at] = reversed ? block_threads - 1 - at : at;
    uint64_t blocks = (uint64_t)grid.x * grid.y * grid.z;
    for (uint64_t step = 0; step < blocks && failure.empty(); step++) {
        uint64_t at = reversed ? blocks - 1 - step : step; // blocks may run in any order
        if (geometry.block != ALL) at = geometry.block;
        state.block.x = at % grid.x;
        state.block.y = at / grid.x % grid.y;
        state.block.z = at / grid.x / grid.y;
        memset(state.shared, 0xff, shared); // NaN
        warps.assign(block_threads / 32, {});
        block_arrived = 0;
        for (unsigned at = 0; at < block_threads; at++) {
            Fiber& fiber = fibers[at];
            fiber.thread.x = at % threads.x;
            fiber.thread.y = at / threads.x % threads.y;
            fiber.thread.z = at / threads.x / threads.y;
            fiber.warp = at / 32;
            fiber.lane = at % 32;
            fiber.state = Fiber::Ready;
            fiber.open.clear();
            fiber.groups.clear();
            prepare(fiber);
        }
        run_block(fibers, turn, schedule.order, random);
        if (state.tracked) end_tracking();
        if (geometry.block != ALL) break;
    }
    for (auto& fiber : fibers) stacks.all.push_back(fiber.stack);
    munmap(memory, bytes);
    return failure;
}

} // namespace emulated
