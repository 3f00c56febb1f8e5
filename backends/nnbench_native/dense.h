/* The further layers, for the worker's examples; and their weights. */
#pragma once
#include "types.h"

void feedforward_rest(struct worker *w);
void backpropagate(struct worker *w);
void dense_gradients(struct worker *w, int fused);
void square_weights(struct worker *w);
