/* Activations and losses. What fills up a row of derivatives is zero here too. */
#include "loss.h"

#include <stdlib.h>

#include "vec.h"

void activate(enum activation activation, float *values, size_t count) {
    switch (activation) {
    case RELU:
        for (size_t i = 0; i < count; i += LANES) {
            vec x = load(values + i);
            store(values + i, choose((uvec)(x <= 0.0f), splat(0.0f), x)); /* NaN stays */
        }
        return;
    case SIGMOID:
        for (size_t i = 0; i < count; i += LANES) store(values + i, vec_sigmoid(load(values + i)));
        return;
    }
    abort();
}

void multiply_by_slope(enum activation activation, const float *values, float *deltas,
                       size_t count) {
    switch (activation) {
    case RELU:
        for (size_t i = 0; i < count; i += LANES) {
            uvec passes = (uvec)(load(values + i) > 0.0f);
            store(deltas + i, choose(passes, load(deltas + i), splat(0.0f)));
        }
        return;
    case SIGMOID:
        for (size_t i = 0; i < count; i += LANES) {
            vec a = load(values + i);
            store(deltas + i, load(deltas + i) * (a * (1.0f - a)));
        }
        return;
    }
    abort();
}

/* Write share * softmax of a row. Returns the largest logit, and through `sum` the sum of the
   exponentials of the logits less the largest. */
static float softmax(const struct layer *layer, const float *logits, float share, float *out,
                     float *sum) {
    float top = -INFINITY;
    for (size_t k = 0; k < layer->outputs; k += LANES) {
        uvec present = first_lanes(layer->outputs - k);
        top = fmaxf(top, vec_max(choose(present, load(logits + k), splat(top))));
    }
    vec sums = {0};
    for (size_t k = 0; k < layer->outputs; k += LANES) {
        vec e = vec_exp(load(logits + k) - top);
        e = choose(first_lanes(layer->outputs - k), e, splat(0.0f));
        store(out + k, e);
        sums += e;
    }
    *sum = vec_sum(sums);
    for (size_t k = 0; k < layer->outputs; k += LANES)
        store(out + k, load(out + k) * (share / *sum));
    return top;
}

/* The mean over the batch, in nats; this returns these examples' part of it. */
static double cross_entropy(const struct worker *w, struct range examples) {
    const struct layer *last = &w->network->layers[w->network->depth - 1];
    float share = 1.0f / (float)w->batch, sum;
    double loss = 0, product = 1; /* one logarithm of many sums, each of which is 1 to outputs */
    for (size_t n = examples.begin; n < examples.end; n++) {
        const float *logits = last->value + n * last->stride;
        float *delta = last->delta + n * last->stride;
        int32_t label = example(w, n)->label;
        loss += (double)(softmax(last, logits, share, delta, &sum) - logits[label]);
        delta[label] -= share;
        product *= (double)sum;
        if (n % 16 == 0) loss += log(product), product = 1;
    }
    return (loss + log(product)) / (double)w->batch;
}

/* The mean over batch and outputs of the squared error of a sigmoid; likewise. */
static double squared_error(const struct worker *w, struct range examples) {
    const struct layer *last = &w->network->layers[w->network->depth - 1];
    double share = 1.0 / ((double)w->batch * (double)last->outputs), loss = 0;
    for (size_t n = examples.begin; n < examples.end; n++) {
        const float *logits = last->value + n * last->stride;
        const float *targets = w->network->data->targets + (size_t)w->index[n] * last->outputs;
        float *delta = last->delta + n * last->stride;
        vec squares = {0};
        for (size_t k = 0; k < last->outputs; k += LANES) {
            size_t lanes = smaller(LANES, last->outputs - k);
            float target[LANES] = {0};
            memcpy(target, targets + k, lanes * sizeof *target);
            vec a = vec_sigmoid(load(logits + k));
            vec error = choose(first_lanes(lanes), a - load(target), splat(0.0f));
            store(delta + k, error * (float)(2 * share) * (a * (1.0f - a)));
            squares += error * error;
        }
        loss += (double)vec_sum(squares);
    }
    return loss * share;
}

double output_loss(const struct worker *w, struct range examples) {
    switch (w->network->loss) {
    case CROSS_ENTROPY: return cross_entropy(w, examples);
    case SQUARED_ERROR: return squared_error(w, examples);
    }
    abort();
}
