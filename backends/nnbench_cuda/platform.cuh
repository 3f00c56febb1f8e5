// What C++ has no word for: instructions of NVIDIA's GPUs. The tests have a header of this name that does the same on a CPU.
#pragma once

#define DEVICE __device__ __forceinline__

DEVICE float *shared_memory() {
    extern __shared__ float4 memory[];
    return reinterpret_cast<float *>(memory);
}

DEVICE unsigned shared_address(const void *pointer) { return static_cast<unsigned>(__cvta_generic_to_shared(pointer)); }

// Copies 4 or 16 bytes into shared memory, in the background.
template <int BYTES> DEVICE void copy_async(void *to, const void *from) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2;" ::"r"(shared_address(to)), "l"(from), "n"(BYTES) : "memory");
}

// Waits until all that this thread copies has come.
DEVICE void await_copies() { asm volatile("cp.async.wait_all;" ::: "memory"); }

#if PLAN_CLUSTERS

using Barrier = unsigned long long; // in shared memory: counts bytes that come, and changes its phase when all have come

DEVICE void begin(Barrier *barrier) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" ::"r"(shared_address(barrier)) : "memory");
}

// Makes barriers that this thread has begun known to all blocks, which then meet.
DEVICE void publish() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }

// Waits for all threads of all blocks; what they have written before is seen afterwards.
DEVICE void meet() {
    asm volatile("barrier.cluster.arrive.release;\n\tbarrier.cluster.wait.acquire;" ::: "memory");
}

// Says how many bytes come in this phase; once, whether they are under way or not.
DEVICE void expect(Barrier *barrier, unsigned bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)), "r"(bytes)
                 : "memory");
}

// Waits until the phase of this parity is over. What came in it is then seen.
DEVICE void await(Barrier *barrier, unsigned parity) {
    unsigned is_over;
    do {
        asm volatile("{\n\t.reg .pred p;\n\t"
                     "mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 p, [%1], %2;\n\t"
                     "selp.u32 %0, 1, 0, p;\n\t}"
                     : "=r"(is_over)
                     : "r"(shared_address(barrier)), "r"(parity)
                     : "memory");
    } while (!is_over);
}

// Writes 16 bytes into the shared memory of another block of the cluster, or this one, where `to` lies in this one, and counts
// them at the barrier there.
DEVICE void send(int block, float *to, float4 value, Barrier *barrier) {
    unsigned there, counted;
    asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(shared_address(to)), "r"(block));
    asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(counted) : "r"(shared_address(barrier)), "r"(block));
    asm volatile("st.async.shared::cluster.mbarrier::complete_tx::bytes.v4.f32 [%0], {%1, %2, %3, %4}, [%5];" ::"r"(there),
                 "f"(value.x), "f"(value.y), "f"(value.z), "f"(value.w), "r"(counted)
                 : "memory");
}

#else

// Reads and writes what other blocks see, past the cache of this one's multiprocessor.
DEVICE float4 read_through(const float *from) { return __ldcg(reinterpret_cast<const float4 *>(from)); }
DEVICE void write_through(float *to, float4 value) { __stcg(reinterpret_cast<float4 *>(to), value); }

// Adds one, and waits until the sum is the goal. What other threads have written before they added is seen afterwards.
DEVICE void arrive_and_wait(unsigned *arrivals, unsigned goal) {
    __threadfence();
    atomicAdd(arrivals, 1);
    while (*reinterpret_cast<volatile unsigned *>(arrivals) < goal) {
    }
    __threadfence();
}

#endif
