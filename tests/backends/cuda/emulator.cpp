// The kernel as a library for the CPU; platform.cuh beside this file has what it needs of a GPU.
#include <kernel.cu>

// Both return what has failed, or null. The seed draws the order in which threads go on.
extern "C" const char *emulate_run(const Launch *launch, unsigned seed) {
    return emulated::run([=] { run(*launch); }, BLOCKS, THREADS, PLAN_SHARED_SIZE * sizeof(float), seed);
}

extern "C" const char *emulate_step(const Launch *launch, unsigned seed) {
    return emulated::run([=] { step(*launch); }, 3, THREADS, 0, seed);
}
