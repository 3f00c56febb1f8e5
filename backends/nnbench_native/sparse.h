/* The first layer, for the worker's inputs. */
#pragma once
#include "types.h"

void divide_inputs(struct network *net, size_t batch);
void gather(struct worker *w);
void sum_inputs(struct worker *w);
void input_gradients(struct worker *w, int fused);
