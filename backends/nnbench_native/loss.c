/* Activations and losses. Rows are whole vectors; what lies behind their last output is
   overwritten with anything finite and never used. */
#include "network.h"
#include "vec.h"

void activate(int activation, float *values, size_t count) {
    for (size_t i = 0; i < count; i += LANES) {
        vec x = load(values + i);
        if (activation == RELU)
            x = choose((uvec)(x <= 0.0f), splat(0.0f), x); /* NaN stays */
        else
            x = vec_sigmoid(x);
        store(values + i, x);
    }
}

void multiply_by_slope(int activation, const float *values, float *deltas, size_t count) {
    for (size_t i = 0; i < count; i += LANES) {
        vec a = load(values + i), d = load(deltas + i);
        if (activation == RELU)
            d = choose((uvec)(a > 0.0f), d, splat(0.0f));
        else
            d = d * (a * (1.0f - a));
        store(deltas + i, d);
    }
}

/* Softmax of a row, in place of its logits; returns the logarithm of the sum of the exponentials,
   and the largest logit through `highest`, which was taken off first. */
static double softmax(const float *logits, float *out, size_t outputs, size_t stride,
                      float *highest) {
    float top = logits[0];
    for (size_t k = 1; k < outputs; k++) top = logits[k] > top ? logits[k] : top;
    vec sums = {0};
    for (size_t k = 0; k < stride; k += LANES) {
        vec e = vec_exp(load(logits + k) - top);
        if (k + LANES > outputs)
            for (size_t i = outputs - k; i < LANES; i++) e[i] = 0;
        store(out + k, e);
        sums += e;
    }
    float sum = vec_sum(sums);
    for (size_t k = 0; k < stride; k += LANES) store(out + k, load(out + k) / sum);
    *highest = top;
    return logf(sum);
}

/* The mean over the batch, in nats; returns the sum over these examples. */
double cross_entropy(const struct worker *w, struct range examples) {
    const struct network *net = w->network;
    const struct layer *last = &net->layers[net->depth - 1];
    float share = 1.0f / (float)w->batch;
    double loss = 0;
    for (size_t n = examples.begin; n < examples.end; n++) {
        const float *logits = last->value + n * last->stride;
        float *delta = last->delta + n * last->stride, highest;
        int64_t label = net->data->labels[w->index[n]];
        loss += softmax(logits, delta, last->outputs, last->stride, &highest);
        loss -= (double)(logits[label] - highest);
        delta[label] -= 1.0f;
        for (size_t k = 0; k < last->stride; k += LANES) store(delta + k, load(delta + k) * share);
    }
    return loss / (double)w->batch;
}

/* The mean over batch and outputs of the squared error of a sigmoid; likewise. */
double squared_error(const struct worker *w, struct range examples) {
    const struct network *net = w->network;
    const struct layer *last = &net->layers[net->depth - 1];
    double share = 1.0 / ((double)w->batch * (double)last->outputs), loss = 0;
    for (size_t n = examples.begin; n < examples.end; n++) {
        const float *logits = last->value + n * last->stride;
        const float *targets = net->data->targets + (size_t)w->index[n] * last->outputs;
        float *delta = last->delta + n * last->stride;
        vec squares = {0};
        for (size_t k = 0; k < last->stride; k += LANES) {
            size_t lanes = last->outputs - k < LANES ? last->outputs - k : LANES;
            vec a = vec_sigmoid(load(logits + k));
            vec error = a - (lanes < LANES ? load_part(targets + k, lanes) : load(targets + k));
            store(delta + k, error * (float)(2 * share) * (a * (1.0f - a)));
            for (size_t i = lanes; i < LANES; i++) error[i] = 0;
            squares += error * error;
        }
        loss += vec_sum(squares);
    }
    return loss * share;
}
