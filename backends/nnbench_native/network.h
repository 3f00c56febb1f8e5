/* A multilayer perceptron, and what its threads share.

   In each step the threads meet twice. A thread owns a range of the inputs (pixels), with their
   rows of the first layer's weights, and a range of the rows of each further layer's:

     products of the own inputs with their weights, for all examples of the batch
     ---- barrier: every thread's part of the first layer's sums is there
     the further layers, the loss and the derivatives, for the own share of the examples
     ---- barrier: all derivatives are there
     gradients of the own weights, and their update

   Each thread thus writes its own weights only, and they stay in its core's cache. */
#ifndef NETWORK_H
#define NETWORK_H

#include <stddef.h>
#include <stdint.h>

#include "optimizer.h"
#include "pool.h"

enum activation { RELU, SIGMOID };
enum loss { CROSS_ENTROPY, SQUARED_ERROR };
enum { GROUP = 64 };      /* examples whose zeros one word of a mask tells */
enum { MAX_VECTORS = 8 }; /* of the columns that the first layer's kernels treat at a time */

/* A split without its zeros: which inputs of an example are not zero, and their values. */
struct data {
    const uint64_t *masks; /* (examples, words): bit i % 64 of word i / 64 is set for input i */
    size_t words;
    const size_t *starts;     /* (examples): where the values of each begin */
    const float *values;      /* in the order of the inputs */
    const int64_t *frequency; /* (inputs): in how many examples it is not zero */
    size_t examples;
    const int64_t *labels; /* (examples), or NULL */
    const float *targets;  /* (examples, outputs), or NULL */
};

struct layer {
    size_t inputs, outputs;
    size_t stride;        /* from one row of values and deltas to the next: whole vectors */
    size_t weight, bias;  /* where they begin in the flat arrays */
    float *value, *delta; /* (capacity, stride): outputs, and the loss's derivative by the sums */
};

struct worker {
    struct network *network;
    int thread;
    const int64_t *index;  /* (batch): which examples are the batch; a thread may be a step ahead */
    size_t batch;
    struct optimizer optimizer;
    size_t begin, end;     /* its inputs; begin is a multiple of CHUNK */
    uint64_t *masks;       /* (groups of the batch, words * 64): bit n is set for example n */
    const float **starts;  /* (capacity): the first value of each example from `begin` on */
    const float **cursors; /* (capacity): the next value */
    float *sums;           /* (capacity, stride): its part of the first layer's sums */
    float *rows;           /* the gradients of a chunk of rows */
    float *scratch;        /* of gemm */
    double loss, squares;  /* its share of the loss, and of the sum of the squared weights */
};

struct network {
    int depth, activation, loss, bias, threads;
    float l2;
    struct layer *layers;
    size_t parameters;
    float *parameter, *gradient, *first, *second; /* (parameters): the flat arrays */
    unsigned char *touched; /* (inputs / CHUNK): whether a moment of these rows may be non-zero */
    size_t words;           /* of 64 inputs each */
    size_t capacity;        /* examples that the buffers have room for */
    struct pool *pool;
    struct worker *workers;
    const struct data *data;
};

/* Rows of the first layer's weights that are updated at a time, from the nearest cache. */
enum { CHUNK = 8 };

/* Part `thread` of `count` things, cut at multiples of `step`: [begin, end). */
struct range {
    size_t begin, end;
};
struct range share(size_t count, int thread, int threads, size_t step);

/* sparse.c: the first layer, for the worker's inputs. */
void divide_inputs(struct network *net, size_t batch);
void gather(struct worker *w);
void fetch_ahead(struct worker *w, const int64_t *index, size_t count);
void sum_inputs(struct worker *w);
void input_gradients(struct worker *w, int fused);

/* dense.c: the further layers, for the worker's examples; and their weights. */
void feedforward_rest(struct worker *w);
void backpropagate(struct worker *w);
void dense_gradients(struct worker *w, int fused);
void square_weights(struct worker *w);

/* Keep the gradients of `count` parameters from `offset` on; if fused, update these instead.
   L2 is added if they are weights. */
void finish(struct worker *w, size_t offset, float *gradients, size_t count, int weights, int fused);

/* loss.c: of the worker's examples; the derivatives go to the last layer's delta. */
double cross_entropy(const struct worker *w, struct range examples);
double squared_error(const struct worker *w, struct range examples);
void activate(int activation, float *values, size_t count);
void multiply_by_slope(int activation, const float *values, float *deltas, size_t count);

#endif
