/* A multilayer perceptron, and what its threads share.

   In each step the threads meet twice. A thread owns a range of the inputs (pixels), with their
   rows of the first layer's weights, and a range of the rows of each further layer's:

     products of the own inputs with their weights, for all examples of the batch
     ---- barrier: every thread's part of the first layer's sums is there
     the further layers, the loss and the derivatives, for the own share of the examples
     ---- barrier: all derivatives are there
     gradients of the own weights, and their update

   Each thread thus writes its own weights only, and they stay in its core's cache. A thread may
   be a step ahead of another until the next barrier, so it has a record of the step for itself.

   Every row, of weights as of values, is a whole number of vectors; what fills it up is zero. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Kinds are numbered as in library.py. A switch over them has no
   default: the compiler refuses one that leaves a kind out. */
enum activation { RELU, SIGMOID };
enum loss { CROSS_ENTROPY, SQUARED_ERROR };
enum kind { SGD, ADAM, FRESH_ADAM }; /* of optimizer */
enum { WORD = 64 };       /* inputs that one word of a mask tells of */
enum { MAX_VECTORS = 8 }; /* of the columns that the first layer's kernels treat at a time */

/* An example without its zeros. All of this lies together, since examples come in a random order
   and each place in memory has to be waited for. */
struct example {
    uint64_t start;  /* of its values, in the order of the inputs */
    uint32_t count;  /* of its values */
    int32_t label;   /* if the loss is cross-entropy */
    uint64_t mask[]; /* bit i % WORD of word i / WORD tells whether input i is not zero */
};

/* A split. */
struct data {
    const char *examples; /* (count, size): each a struct example */
    size_t count, size;
    const float *values;      /* of all examples */
    const float *targets;     /* (count, outputs), or NULL */
    const int64_t *frequency; /* (inputs): in how many examples it is not zero */
};

struct layer {
    size_t inputs, outputs;
    size_t stride;        /* from one row of weights, values or deltas to the next */
    size_t weight, bias;  /* where they begin in the flat arrays */
    float *value, *delta; /* (capacity, stride): outputs, and the loss's derivative by the sums */
};

struct optimizer {
    enum kind kind;
    float decay1, decay2; /* beta 1 and 2 */
    float rate, epsilon;  /* of this step; see optimizer_step */
    double learning_rate, beta1, beta2, given_epsilon;
    long step;
};

struct worker {
    struct network *network;
    int thread;
    const int64_t *index; /* (batch): which examples are the batch */
    size_t batch, left;   /* examples of this batch, and of later ones, whose index follows */
    struct optimizer optimizer;
    size_t begin, end;     /* its inputs */
    uint64_t *masks;       /* (words, batch): those of the batch, of its own inputs only */
    uint64_t *turned;      /* (batch, up to whole words): those of a word, turned round */
    const float **starts;  /* (batch): the first value of its inputs, for each example */
    const float **cursors; /* (batch): the next value */
    float *sums;           /* (capacity, stride): its part of the first layer's sums */
    float *rows;           /* (WORD, MAX_VECTORS): gradients */
    float *scratch;        /* of gemm */
    double loss, squares;  /* its share of the loss, and of the sum of the squared weights */
};

struct network {
    int depth, bias, threads;
    enum activation activation;
    enum loss loss;
    float l2;
    struct layer *layers;
    size_t words; /* of the masks */
    size_t parameters;                            /* and what fills up their rows */
    float *parameter, *gradient, *first, *second; /* (parameters): the flat arrays */
    uint64_t *touched; /* (words): bits of the rows with a moment that may be other than zero */
    size_t capacity;        /* examples that the buffers have room for */
    struct pool *pool;
    struct worker *workers;
    const struct data *data;
};

/* Part `part` of `count` things, cut at multiples of `step`: [begin, end). */
struct range {
    size_t begin, end;
};
static inline struct range share(size_t count, size_t part, size_t parts, size_t step) {
    size_t steps = (count + step - 1) / step;
    size_t begin = steps * part / parts * step, end = steps * (part + 1) / parts * step;
    return (struct range){begin < count ? begin : count, end < count ? end : count};
}

static inline struct range own_share(const struct worker *w, size_t count, size_t step) {
    return share(count, (size_t)w->thread, (size_t)w->network->threads, step);
}

/* Example n of the worker's batch, or of a later one. */
static inline const struct example *example(const struct worker *w, size_t n) {
    const struct data *data = w->network->data;
    return (const struct example *)(data->examples + (size_t)w->index[n] * data->size);
}
