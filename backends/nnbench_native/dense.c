/* The layers after the first, and what they share with it: activations, biases, derivatives. */
#include "dense.h"

#include "gemm.h"
#include "loss.h"
#include "optimizer.h"
#include "vec.h"

static struct range own_examples(const struct worker *w) {
    return own_share(w, w->batch, 1);
}

/* The outputs with what fills up their last vector; whole vectors are quicker to write. */
static size_t columns(const struct layer *layer) { return round_up(layer->outputs, LANES); }

/* The first layer's sums: every thread's part, and the bias. */
static void join_sums(struct worker *w, struct range examples) {
    const struct network *net = w->network;
    const struct layer *layer = &net->layers[0];
    const float *bias = net->parameter + layer->bias;
    for (size_t n = examples.begin; n < examples.end; n++)
        for (size_t k = 0; k < layer->stride; k += LANES) {
            size_t at = n * layer->stride + k;
            vec sum = load(net->workers[0].sums + at);
            for (int t = 1; t < net->threads; t++) sum += load(net->workers[t].sums + at);
            if (net->bias) sum += load(bias + k);
            store(layer->value + at, sum);
        }
}

static void start_with_bias(const struct network *net, const struct layer *layer,
                            struct range examples) {
    for (size_t n = examples.begin; n < examples.end; n++) {
        float *row = layer->value + n * layer->stride;
        for (size_t k = 0; k < layer->stride; k += LANES)
            store(row + k, net->bias ? load(net->parameter + layer->bias + k) : splat(0.0f));
    }
}

void feedforward_rest(struct worker *w) {
    struct network *net = w->network;
    struct range examples = own_examples(w);
    size_t count = examples.end - examples.begin;
    join_sums(w, examples);
    for (int l = 1; l < net->depth; l++) {
        struct layer *below = &net->layers[l - 1], *layer = &net->layers[l];
        float *inputs = below->value + examples.begin * below->stride;
        activate(net->activation, inputs, count * below->stride);
        start_with_bias(net, layer, examples);
        gemm(count, columns(layer), layer->inputs, (struct matrix){inputs, below->stride, 1},
             (struct matrix){net->parameter + layer->weight, layer->stride, 1},
             layer->value + examples.begin * layer->stride, layer->stride, w->scratch);
    }
}

void backpropagate(struct worker *w) {
    struct network *net = w->network;
    struct range examples = own_examples(w);
    size_t count = examples.end - examples.begin;
    w->loss = output_loss(w, examples);
    for (int l = net->depth - 1; l > 0; l--) {
        struct layer *below = &net->layers[l - 1], *layer = &net->layers[l];
        size_t at = examples.begin * below->stride;
        memset(below->delta + at, 0, count * below->stride * sizeof *below->delta);
        gemm(count, layer->inputs, layer->outputs,
             (struct matrix){layer->delta + examples.begin * layer->stride, layer->stride, 1},
             (struct matrix){net->parameter + layer->weight, 1, layer->stride}, below->delta + at,
             below->stride, w->scratch);
        multiply_by_slope(net->activation, below->value + at, below->delta + at,
                          count * below->stride);
    }
}

/* The bias's gradient is the sum of the deltas over the batch. */
static void bias_gradient(struct worker *w, const struct layer *layer, int fused) {
    struct network *net = w->network;
    struct range own = own_share(w, layer->stride, LANES);
    float *gradient = net->gradient + layer->bias;
    for (size_t k = own.begin; k < own.end; k += LANES) {
        vec sum = {0};
        for (size_t n = 0; n < w->batch; n++) sum += load(layer->delta + n * layer->stride + k);
        store(gradient + k, sum);
    }
    finish(w, layer->bias + own.begin, gradient + own.begin, own.end - own.begin, 0, fused);
}

void dense_gradients(struct worker *w, int fused) {
    struct network *net = w->network;
    for (int l = 0; l < net->depth; l++) {
        struct layer *layer = &net->layers[l];
        if (net->bias) bias_gradient(w, layer, fused);
        if (l == 0) continue;
        const struct layer *below = &net->layers[l - 1];
        struct range own = own_share(w, layer->inputs, 8);
        size_t offset = layer->weight + own.begin * layer->stride;
        size_t rows = own.end - own.begin, count = rows * layer->stride;
        float *gradient = net->gradient + offset;
        memset(gradient, 0, count * sizeof *gradient);
        gemm(rows, columns(layer), w->batch,
             (struct matrix){below->value + own.begin, 1, below->stride},
             (struct matrix){layer->delta, layer->stride, 1}, gradient, layer->stride, w->scratch);
        finish(w, offset, gradient, count, 1, fused);
    }
}

/* The sum of the squares of the worker's share of the weights, for the L2 term of the loss. */
void square_weights(struct worker *w) {
    const struct network *net = w->network;
    w->squares = 0;
    if (net->l2 == 0) return;
    for (int l = 0; l < net->depth; l++) {
        const struct layer *layer = &net->layers[l];
        const float *weights = net->parameter + layer->weight;
        struct range own = own_share(w, layer->inputs, 8);
        if (l == 0) own = (struct range){w->begin, w->end};
        for (size_t i = own.begin * layer->stride; i < own.end * layer->stride; i++)
            w->squares += (double)weights[i] * (double)weights[i];
    }
}
