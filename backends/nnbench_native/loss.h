/* Activations, in place; and the loss of the worker's examples, whose derivatives go to the last
   layer's delta. */
#pragma once
#include "types.h"

void activate(enum activation activation, float *values, size_t count);
void multiply_by_slope(enum activation activation, const float *values, float *deltas,
                       size_t count);
double output_loss(const struct worker *w, struct range examples);
