/* What turns gradients into an update of the parameters. */
#ifndef OPTIMIZER_H
#define OPTIMIZER_H

#include <stddef.h>

enum kind { SGD, ADAM, FRESH_ADAM };

struct optimizer {
    int kind;
    float decay1, decay2; /* beta 1 and 2 */
    float rate, epsilon;  /* of this step; see optimizer_step */
    double learning_rate, beta1, beta2, given_epsilon;
    long step;
};

/* Go on to the next step. */
void optimizer_step(struct optimizer *optimizer);

/* Update `count` parameters, whole vectors, with their gradients; the moments are Adam's. */
void optimize(const struct optimizer *optimizer, float *parameters, const float *gradients,
              float *first, float *second, size_t count);

#endif
