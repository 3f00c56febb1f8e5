/* Adam (Kingma and Ba, 2015) has scaled moments, as Optimizer.scaled in nnbench/contract/spec.py
   derives it. */
#include "optimizer.h"

#include "vec.h"

void optimizer_step(struct optimizer *o) {
    o->step++;
    o->rate = (float)o->learning_rate;
    o->epsilon = (float)o->given_epsilon;
    if (!keeps_moments(o)) return;
    double scale = sqrt((1 - o->beta2) / (1 - pow(o->beta2, (double)o->step)));
    double corrected = o->learning_rate * (1 - o->beta1) / (1 - pow(o->beta1, (double)o->step));
    o->rate = (float)(corrected / scale);
    o->epsilon = (float)(o->given_epsilon / scale);
}

/* One vector's worth, at p; the kind is a constant where this is called. */
INLINE void update(const enum kind kind, const struct optimizer *o, float *p, const float *g,
                   float *m, float *v) {
    vec gradient = load(g), step = gradient * o->rate;
    switch (kind) {
    case SGD: break;
    case ADAM: {
        vec first = load(m) * o->decay1 + gradient;
        vec second = load(v) * o->decay2 + gradient * gradient;
        store(m, first);
        store(v, second);
        step = first * o->rate / (vec_sqrt(second) + o->epsilon);
        break;
    }
    case FRESH_ADAM: step = step / (vec_abs(gradient) + o->epsilon); break;
    }
    store(p, load(p) - step);
}

INLINE void update_all(const enum kind kind, const struct optimizer *o, float *p, const float *g,
                       float *m, float *v, size_t count) {
    for (size_t i = 0; i < count; i += LANES) update(kind, o, p + i, g + i, m + i, v + i);
}

void optimize(const struct worker *w, size_t offset, const float *g, size_t count) {
    const struct optimizer *o = &w->optimizer;
    float *p = w->network->parameter + offset;
    float *m = w->network->first + offset, *v = w->network->second + offset;
    switch (o->kind) {
    case SGD: update_all(SGD, o, p, g, m, v, count); return;
    case ADAM: update_all(ADAM, o, p, g, m, v, count); return;
    case FRESH_ADAM: update_all(FRESH_ADAM, o, p, g, m, v, count); return;
    }
    abort();
}

void finish(struct worker *w, size_t offset, float *gradients, size_t count, int weights,
            int fused) {
    struct network *net = w->network;
    float *parameters = net->parameter + offset, *kept = net->gradient + offset;
    if (weights && net->l2 != 0)
        for (size_t i = 0; i < count; i++) gradients[i] += net->l2 * parameters[i];
    if (fused)
        optimize(w, offset, gradients, count);
    else if (kept != gradients)
        memcpy(kept, gradients, count * sizeof *kept);
}
