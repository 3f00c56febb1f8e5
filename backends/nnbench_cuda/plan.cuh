// The partition as plan.py has it, and what a launch is given (device.py has the same structure).
#pragma once

#include <platform.cuh>

enum Activation { RELU, SIGMOID };
enum Loss { CROSS_ENTROPY, SQUARED_ERROR };
enum Optimizer { SGD, ADAM, ADAM_FRESH };
enum Task { TRAIN, DIFFERENTIATE, PREDICT };

constexpr Activation ACTIVATION = PLAN_ACTIVATION;
constexpr Loss LOSS = PLAN_LOSS;
constexpr Optimizer OPTIMIZER = PLAN_OPTIMIZER;

constexpr int WARP = 32, BLOCKS = PLAN_BLOCKS, THREADS = PLAN_THREADS, WARPS = THREADS / WARP;
constexpr bool BIAS = PLAN_BIAS;
constexpr int CHUNK = PLAN_CHUNK;     // images that are under way at once
constexpr int OWN = PLAN_OWN;         // those of them that a block owns at most
constexpr int EXAMPLE = PLAN_EXAMPLE; // length of an example
constexpr int RECORD = PLAN_RECORD;   // length of what is said of an image
constexpr int LAYERS = PLAN_LAYERS;

__device__ constexpr int SIZES[] = {PLAN_SIZES};       // units of each layer, the inputs' first
__device__ constexpr int HEIGHTS[] = {PLAN_HEIGHTS};   // rows of each matrix in a block
__device__ constexpr int WIDTHS[] = {PLAN_WIDTHS};     // columns of each matrix
__device__ constexpr int MATRICES[] = {PLAN_MATRICES}; // where each begins among a block's parameters
__device__ constexpr int VALUES[] = {PLAN_VALUES};     // where each layer's inputs begin in a record, but the first one's
__device__ constexpr int DELTAS[] = {PLAN_DELTAS};     // where the derivatives by its outputs do

constexpr int ROWS = HEIGHTS[0], UNITS = WIDTHS[0], OUTPUTS = WIDTHS[LAYERS - 1], PARAMETERS = MATRICES[LAYERS];
constexpr int FIRST_MATRIX = ROWS * UNITS; // of a block

struct Launch {
    const float *examples;  // each of length EXAMPLE
    const int *order;       // numbers of examples
    float *parameters;      // the rows of all blocks, then the later matrices
    float *first;           // their moments
    float *second;
    float *gradients;
    const float2 *rates;    // of each step: what a direction is multiplied by, and Adam's 1 / sqrt(1 - beta2^t)
    float *losses;          // of each example of the order
    float *squares;         // sums of squared weights: of each step, block and warp
    float *logits;          // of each example of the order; or null
    float *mail;            // without clusters: what is sent
    unsigned *arrivals;     // and how many blocks have come to a barrier, 0 at the start
    int count;              // of the order
    int batch_size;
    int task;
    float beta1, gain1;     // gain = 1 - beta
    float beta2, gain2;
    float epsilon;
    float l2;
};

// Images that are under way at once, all of one batch. One that has none lies beyond the end.
struct Chunk {
    int at;    // where in the order
    int count; // of its images
    int batch; // images of the whole batch
    int step;
    bool begins, ends; // the batch
};

__device__ inline Chunk chunk_at(const Launch &launch, int at) {
    int step = at / launch.batch_size, start = step * launch.batch_size;
    int end = min(start + launch.batch_size, launch.count), stop = min(at + CHUNK, end);
    return {at, stop - at, end - start, step, at == start, stop == end};
}

// How many images of a chunk a block owns: image i is of block i % BLOCKS, and has number i / BLOCKS there.
__device__ inline int owned(const Chunk &chunk, int block) { return (chunk.count + BLOCKS - 1 - block) / BLOCKS; }
