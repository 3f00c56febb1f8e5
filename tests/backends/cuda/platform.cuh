// The words of nnbench_cuda's platform.cuh for a CPU, on which threads are fibers that take turns.
//
// A thread runs until it has to wait for others. Which one goes on then is drawn, so whatever is not ordered by a barrier
// comes in any order. A copy in the background comes as late as it may, a message at once. Shared memory begins as NaN. It is a
// failure when a barrier counts more bytes than it was told of, and when all threads wait.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <random>
#include <vector>

#include <ucontext.h>

#define DEVICE inline
#define __device__
#define __global__
#define __grid_constant__
#define __launch_bounds__(...)

using std::max;
using std::min;

struct float2 {
    float x, y;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
struct Index {
    int x;
};
inline Index threadIdx, blockIdx, gridDim;

namespace emulated {

constexpr int LANES = 32;
constexpr size_t STACK = 1 << 16;

inline const char *failure;

struct Copy {
    void *to;
    const void *from;
    int bytes;
};

// Waits while what lies at an address is a value.
struct Fiber {
    ucontext_t context;
    std::unique_ptr<char[]> stack{new char[STACK]};
    int block, thread;
    bool ended = false;
    const volatile unsigned *address = nullptr;
    unsigned value = 0;
    std::vector<Copy> copies;

    bool waits() const { return ended || (address && *address == value); }
};

struct Meeting {
    int present = 0;
    unsigned number = 0;
};

inline std::vector<std::vector<float4>> memories; // shared, of each block
inline std::vector<Fiber> fibers;
inline Fiber *running;
inline ucontext_t scheduler;
inline std::vector<Meeting> blocks, warps;
inline Meeting grid;
inline std::vector<float> slots; // of shuffles, for each thread

// Ends all threads.
inline void fail(const char *what) {
    failure = what;
    swapcontext(&running->context, &scheduler);
}

inline void wait_while(const volatile unsigned *address, unsigned value) {
    if (*address != value) return;
    running->address = address;
    running->value = value;
    swapcontext(&running->context, &scheduler);
    running->address = nullptr;
}

inline void meet(Meeting &meeting, int expected) {
    unsigned number = meeting.number;
    if (++meeting.present == expected) {
        meeting.present = 0;
        meeting.number++;
    } else {
        wait_while(&meeting.number, number);
    }
}

inline int warps_of_block(int threads) { return threads / LANES; }

// Runs a kernel in some blocks, and returns what has failed, or null.
template <typename Kernel> const char *run(Kernel kernel, int count, int threads, int shared_bytes, unsigned seed) {
    static Kernel *called;
    called = &kernel;
    std::mt19937 draw(seed);
    float nan = std::numeric_limits<float>::quiet_NaN();
    memories.assign(count, std::vector<float4>(shared_bytes / sizeof(float4), {nan, nan, nan, nan}));
    blocks.assign(count, {});
    warps.assign(count * warps_of_block(threads), {});
    slots.assign(count * threads, 0);
    grid = {};
    failure = nullptr;
    gridDim.x = count;
    fibers = std::vector<Fiber>(count * threads);
    std::vector<Fiber *> order;
    for (int i = 0; i < count * threads; i++) {
        Fiber &fiber = fibers[i];
        fiber.block = i / threads;
        fiber.thread = i % threads;
        getcontext(&fiber.context);
        fiber.context.uc_stack.ss_sp = fiber.stack.get();
        fiber.context.uc_stack.ss_size = STACK;
        fiber.context.uc_link = &scheduler;
        makecontext(
            &fiber.context,
            [] {
                (*called)();
                running->ended = true;
            },
            0);
        order.push_back(&fiber);
    }
    for (bool moves = true; moves;) {
        moves = false;
        std::shuffle(order.begin(), order.end(), draw);
        for (Fiber *fiber : order) {
            if (fiber->waits()) continue;
            moves = true;
            running = fiber;
            blockIdx.x = fiber->block;
            threadIdx.x = fiber->thread;
            swapcontext(&scheduler, &fiber->context);
            if (failure) return failure;
        }
    }
    bool have_ended = std::all_of(fibers.begin(), fibers.end(), [](const Fiber &fiber) { return fiber.ended; });
    return have_ended ? nullptr : "all threads wait";
}

} // namespace emulated

inline void __syncthreads() { emulated::meet(emulated::blocks[blockIdx.x], PLAN_THREADS); }

inline void __syncwarp() {
    using namespace emulated;
    emulated::meet(warps[blockIdx.x * warps_of_block(PLAN_THREADS) + threadIdx.x / LANES], LANES);
}

inline float __shfl_xor_sync(unsigned, float value, int mask) {
    using namespace emulated;
    float *mine = &slots[blockIdx.x * PLAN_THREADS];
    mine[threadIdx.x] = value;
    __syncwarp();
    float other = mine[threadIdx.x ^ mask];
    __syncwarp();
    return other;
}

inline float *shared_memory() { return reinterpret_cast<float *>(emulated::memories[blockIdx.x].data()); }

template <int BYTES> void copy_async(void *to, const void *from) {
    static_assert(BYTES == 4 || BYTES == 16);
    if (reinterpret_cast<uintptr_t>(to) % BYTES || reinterpret_cast<uintptr_t>(from) % BYTES) emulated::fail("misaligned copy");
    emulated::running->copies.push_back({to, from, BYTES});
}

inline void await_copies() {
    for (auto &copy : emulated::running->copies)
        std::copy_n(static_cast<const char *>(copy.from), copy.bytes, static_cast<char *>(copy.to));
    emulated::running->copies.clear();
}

#if PLAN_CLUSTERS

struct Barrier { // as many bytes as the real one
    unsigned phase;
    int bytes; // that are still to come
};
static_assert(sizeof(Barrier) == 8);
constexpr int UNKNOWN = 1 << 29; // nobody has said how many come

inline void begin(Barrier *barrier) { *barrier = {0, UNKNOWN}; }
inline void publish() {}
inline void meet() { emulated::meet(emulated::grid, PLAN_BLOCKS * PLAN_THREADS); }

inline void settle(Barrier *barrier) {
    if (barrier->bytes == 0) *barrier = {barrier->phase + 1, UNKNOWN};
}

inline void expect(Barrier *barrier, unsigned bytes) {
    if (barrier->bytes > UNKNOWN || barrier->bytes < UNKNOWN / 2) emulated::fail("a phase is announced twice");
    barrier->bytes += static_cast<int>(bytes) - UNKNOWN;
    if (barrier->bytes < 0) emulated::fail("more has come than is announced");
    settle(barrier);
}

inline void await(Barrier *barrier, unsigned parity) {
    if (barrier->phase % 2 == parity) emulated::wait_while(&barrier->phase, barrier->phase);
}

inline void send(int block, float *to, float4 value, Barrier *barrier) {
    auto there = [block](auto *pointer) {
        auto offset = reinterpret_cast<char *>(pointer) - reinterpret_cast<char *>(shared_memory());
        auto &memory = emulated::memories[block];
        if (offset < 0 || offset + 8 > static_cast<long>(memory.size() * sizeof(float4))) emulated::fail("a message lies outside");
        return reinterpret_cast<decltype(pointer)>(reinterpret_cast<char *>(memory.data()) + offset);
    };
    if (reinterpret_cast<uintptr_t>(to) % 16) emulated::fail("misaligned message");
    *reinterpret_cast<float4 *>(there(to)) = value;
    Barrier *counted = there(barrier);
    counted->bytes -= 16;
    if (counted->bytes < 0) emulated::fail("more has come than is announced");
    settle(counted);
}

#else

inline float4 read_through(const float *from) { return *reinterpret_cast<const float4 *>(from); }
inline void write_through(float *to, float4 value) { *reinterpret_cast<float4 *>(to) = value; }

inline void arrive_and_wait(unsigned *arrivals, unsigned goal) {
    ++*arrivals;
    while (*arrivals < goal) emulated::wait_while(arrivals, *arrivals);
}

#endif
