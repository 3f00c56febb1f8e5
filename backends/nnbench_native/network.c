/* What Python calls: make a network, load and dump its arrays, and train it. Functions that
   return an int return 0, or -1 where memory ran out. */
#include <stdlib.h>

#include "dense.h"
#include "gemm.h"
#include "optimizer.h"
#include "pool.h"
#include "sparse.h"
#include "types.h"
#include "vec.h"

enum { ALIGNMENT = 64 }; /* a cache line, and the widest vector */

enum array { PARAMETERS, GRADIENTS, FIRST_MOMENTS, SECOND_MOMENTS };

#define API __attribute__((visibility("default"))) /* -fvisibility hides the rest */

/* A struct of this kind crosses the border, so that its fields are named on both sides. */
struct spec {
    const size_t *sizes; /* (depth + 1) */
    int depth, activation, loss, bias, optimizer, threads;
    double l2, learning_rate, beta1, beta2, epsilon;
};

API const char *nn_isa(void) { return ISA; }

static void *allocate(size_t bytes) {
    void *memory = aligned_alloc(ALIGNMENT, round_up(bytes + 1, ALIGNMENT));
    if (memory) memset(memory, 0, bytes);
    return memory;
}

/* Replace a buffer by a larger one; its content is lost. */
static int renew(void *buffer, size_t bytes) {
    void **place = buffer;
    free(*place);
    *place = allocate(bytes);
    return *place ? 0 : -1;
}

/* Make room for batches of n examples. */
static int reserve(struct network *net, size_t n) {
    if (n <= net->capacity) return 0;
    net->capacity = 0;
    int failed = 0;
    for (int l = 0; l < net->depth; l++) {
        size_t bytes = n * net->layers[l].stride * sizeof(float);
        failed |= renew(&net->layers[l].value, bytes) | renew(&net->layers[l].delta, bytes);
    }
    for (int t = 0; t < net->threads; t++) {
        struct worker *w = &net->workers[t];
        failed |= renew(&w->masks, net->words * n * sizeof *w->masks);
        failed |= renew(&w->turned, round_up(n, WORD) * sizeof *w->turned);
        failed |= renew(&w->starts, n * sizeof *w->starts);
        failed |= renew(&w->cursors, n * sizeof *w->cursors);
        failed |= renew(&w->sums, n * net->layers[0].stride * sizeof *w->sums);
    }
    if (!failed) net->capacity = n;
    return failed;
}

static void add_layers(struct network *net, const size_t *sizes) {
    size_t at = 0;
    for (int l = 0; l < net->depth; l++) {
        struct layer *layer = &net->layers[l];
        layer->inputs = sizes[l];
        layer->outputs = sizes[l + 1];
        layer->stride = round_up(layer->outputs, LANES);
        /* a row of many cache lines, if it were a power of two, would share a few sets */
        if (layer->stride % (8 * LANES) == 0) layer->stride += LANES;
        layer->weight = at;
        at += layer->inputs * layer->stride;
        layer->bias = at;
        if (net->bias) at += layer->stride;
    }
    net->parameters = at;
    net->words = (sizes[0] + WORD - 1) / WORD;
}

static int add_workers(struct network *net) {
    size_t widest = 0;
    for (int l = 1; l < net->depth; l++) {
        const struct layer *layer = &net->layers[l];
        widest = layer->inputs > widest ? layer->inputs : widest;
        widest = layer->outputs > widest ? layer->outputs : widest;
    }
    int failed = 0;
    for (int t = 0; t < net->threads; t++) {
        struct worker *w = &net->workers[t];
        *w = (struct worker){.network = net, .thread = t};
        w->rows = allocate(WORD * MAX_VECTORS * LANES * sizeof *w->rows);
        w->scratch = allocate(gemm_scratch(widest) * sizeof *w->scratch);
        failed |= !w->rows || !w->scratch;
    }
    return failed;
}

API void nn_free(struct network *net) {
    if (!net) return;
    pool_free(net->pool);
    for (int l = 0; net->layers && l < net->depth; l++) {
        free(net->layers[l].value);
        free(net->layers[l].delta);
    }
    for (int t = 0; net->workers && t < net->threads; t++) {
        struct worker *w = &net->workers[t];
        free(w->masks), free(w->turned), free(w->starts), free(w->cursors);
        free(w->sums), free(w->rows), free(w->scratch);
    }
    free(net->parameter), free(net->gradient), free(net->first), free(net->second);
    free(net->layers), free(net->workers), free(net->touched), free(net);
}

static int build(struct network *net, const size_t *sizes) {
    net->layers = calloc((size_t)net->depth, sizeof *net->layers);
    net->workers = calloc((size_t)net->threads, sizeof *net->workers);
    if (!net->layers || !net->workers) return -1;
    add_layers(net, sizes);
    size_t bytes = net->parameters * sizeof(float);
    net->parameter = allocate(bytes), net->gradient = allocate(bytes);
    net->first = allocate(bytes), net->second = allocate(bytes);
    net->touched = allocate(net->words * sizeof *net->touched);
    if (!net->parameter || !net->gradient || !net->first || !net->second) return -1;
    if (!net->touched || add_workers(net)) return -1;
    net->pool = pool_create(net->threads);
    return net->pool ? 0 : -1;
}

API struct network *nn_create(const struct spec *spec) {
    struct network *net = calloc(1, sizeof *net);
    if (!net) return NULL;
    net->depth = spec->depth, net->threads = spec->threads;
    net->activation = (enum activation)spec->activation, net->loss = (enum loss)spec->loss;
    net->bias = spec->bias, net->l2 = (float)spec->l2;
    struct optimizer optimizer = {
        .kind = (enum kind)spec->optimizer,
        .decay1 = (float)spec->beta1,
        .decay2 = (float)spec->beta2,
        .learning_rate = spec->learning_rate,
        .beta1 = spec->beta1,
        .beta2 = spec->beta2,
        .given_epsilon = spec->epsilon,
    };
    if (build(net, spec->sizes)) {
        nn_free(net);
        return NULL;
    }
    for (int t = 0; t < net->threads; t++) net->workers[t].optimizer = optimizer;
    return net;
}

/* Copy between a flat array of parameters, without what fills up the rows, and one of ours. */
static void copy_rows(const struct network *net, float *ours, float *flat, int inwards) {
    for (int l = 0; l < net->depth; l++) {
        const struct layer *layer = &net->layers[l];
        size_t rows = layer->inputs + (net->bias != 0), bytes = layer->outputs * sizeof *flat;
        for (size_t i = 0; i < rows; i++, flat += layer->outputs) {
            float *row = ours + layer->weight + i * layer->stride; /* the bias is the last */
            memcpy(inwards ? row : flat, inwards ? flat : row, bytes);
        }
    }
}

/* Set the parameters, and clear the optimizer's state. */
API void nn_load(struct network *net, float *parameters) {
    size_t bytes = net->parameters * sizeof(float);
    memset(net->parameter, 0, bytes);
    copy_rows(net, net->parameter, parameters, 1);
    memset(net->first, 0, bytes);
    memset(net->second, 0, bytes);
    memset(net->touched, 0, net->words * sizeof *net->touched);
    for (int t = 0; t < net->threads; t++) net->workers[t].optimizer.step = 0;
}

static float *array_of(const struct network *net, enum array array) {
    switch (array) {
    case PARAMETERS: return net->parameter;
    case GRADIENTS: return net->gradient;
    case FIRST_MOMENTS: return net->first;
    case SECOND_MOMENTS: return net->second;
    }
    abort();
}

API void nn_dump(const struct network *net, int array, float *out) {
    copy_rows(net, array_of(net, (enum array)array), out, 0);
}

/* How many steps the optimizer has made since the last load. */
API long nn_steps(const struct network *net) { return net->workers[0].optimizer.step; }

/* The jobs. */

static void feedforward_job(void *context, int thread) {
    struct network *net = context;
    sum_inputs(&net->workers[thread]);
    pool_barrier(net->pool);
    feedforward_rest(&net->workers[thread]);
}

static void backprop_job(void *context, int thread) {
    struct network *net = context;
    struct worker *w = &net->workers[thread];
    square_weights(w);
    backpropagate(w);
    pool_barrier(net->pool);
    input_gradients(w, 0);
    dense_gradients(w, 0);
}

static void update_job(void *context, int thread) {
    struct network *net = context;
    struct worker *w = &net->workers[thread];
    struct range own = own_share(w, net->parameters, LANES);
    optimizer_step(&w->optimizer);
    optimize(w, own.begin, net->gradient + own.begin, own.end - own.begin);
}

/* The loss of the batch, L2 term included: the sum of all workers' shares. */
static float total_loss(const struct network *net) {
    double loss = 0, squares = 0;
    for (int t = 0; t < net->threads; t++) {
        loss += net->workers[t].loss;
        squares += net->workers[t].squares;
    }
    return (float)(loss + (double)net->l2 / 2 * squares);
}

/* The three phases. `data` and `index` must stay until the backprop. */

API int nn_batch(struct network *net, const struct data *data, const int64_t *index, size_t n) {
    if (reserve(net, n)) return -1;
    net->data = data;
    divide_inputs(net, n);
    for (int t = 0; t < net->threads; t++) {
        net->workers[t].index = index;
        net->workers[t].batch = n;
        gather(&net->workers[t]);
    }
    return 0;
}

API void nn_feedforward(struct network *net, float *logits) {
    pool_run(net->pool, feedforward_job, net);
    const struct layer *last = &net->layers[net->depth - 1];
    for (size_t n = 0; n < net->workers[0].batch; n++)
        memcpy(logits + n * last->outputs, last->value + n * last->stride,
               last->outputs * sizeof *logits);
}

API float nn_backprop(struct network *net) {
    pool_run(net->pool, backprop_job, net);
    return total_loss(net);
}

API void nn_update(struct network *net) {
    memset(net->touched, 0xff, net->words * sizeof *net->touched);
    pool_run(net->pool, update_job, net);
}

/* The whole epoch. */

struct epoch {
    struct network *net;
    const int64_t *order;
    size_t examples, batch_size;
    float *losses;
};

static void epoch_job(void *context, int thread) {
    struct epoch *epoch = context;
    struct network *net = epoch->net;
    struct worker *w = &net->workers[thread];
    size_t step = 0;
    w->left = epoch->examples;
    for (w->index = epoch->order; w->left; w->index += w->batch, step++) {
        w->batch = smaller(w->left, epoch->batch_size);
        w->left -= w->batch;
        gather(w);
        optimizer_step(&w->optimizer);
        sum_inputs(w);
        pool_barrier(net->pool);
        feedforward_rest(w);
        square_weights(w);
        backpropagate(w);
        pool_barrier(net->pool);
        if (thread == 0) epoch->losses[step] = total_loss(net);
        input_gradients(w, 1);
        dense_gradients(w, 1);
    }
}

API int nn_train_epoch(struct network *net, const struct data *data, const int64_t *order,
                   size_t examples, size_t batch_size, float *losses) {
    struct epoch epoch = {net, order, examples, batch_size, losses};
    if (examples == 0) return 0;
    if (reserve(net, smaller(batch_size, examples))) return -1;
    net->data = data;
    divide_inputs(net, batch_size);
    pool_run(net->pool, epoch_job, &epoch);
    return 0;
}
