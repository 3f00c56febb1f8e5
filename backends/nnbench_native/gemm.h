/* Products of dense matrices. */
#pragma once

#include <stddef.h>

/* A matrix in memory: element (i, j) is data[i * rows + j * columns]. */
struct matrix {
    const float *data;
    size_t rows, columns; /* strides, in floats */
};

/* How many floats gemm needs as scratch for products of up to n columns. */
size_t gemm_scratch(size_t n);

/* C += A B for A (m, k), B (k, n) and C (m, n), whose rows are ldc floats apart. */
void gemm(size_t m, size_t n, size_t k, struct matrix a, struct matrix b, float *c, size_t ldc,
          float *scratch);
