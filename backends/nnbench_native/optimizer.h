/* What turns gradients into an update of the parameters. */
#pragma once

#include <stdlib.h>

#include "types.h"

/* Go on to the next step. */
void optimizer_step(struct optimizer *optimizer);

/* Whether a parameter can move without a gradient, by moments of earlier steps. */
static inline int keeps_moments(const struct optimizer *optimizer) {
    switch (optimizer->kind) {
    case SGD: return 0;
    case ADAM: return 1;
    case FRESH_ADAM: return 0;
    }
    abort();
}

/* Update `count` parameters, whole vectors, from `offset` on, with their gradients. */
void optimize(const struct worker *w, size_t offset, const float *gradients, size_t count);

/* Keep the gradients of `count` parameters from `offset` on; if fused, update these instead.
   L2 is added if they are weights. */
void finish(struct worker *w, size_t offset, float *gradients, size_t count, int weights,
            int fused);
