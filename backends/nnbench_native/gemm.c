/* The product is cut as in Goto and van de Geijn, "Anatomy of high-performance matrix
   multiplication" (2008): copies of a block of A and a slab of B are laid out in the order in
   which a small kernel reads them, and the kernel keeps a tile of C in registers. */
#include "gemm.h"

#include "vec.h"

#if LANES == 16
enum { MR = 8, NV = 3 }; /* 24 of the 32 registers hold C */
#else
enum { MR = 4, NV = 2 }; /* 8 of 16 */
#endif
enum { NR = NV * LANES, KC = 256, MC = 16 * MR };

size_t gemm_scratch(size_t n) { return (size_t)KC * (MC + round_up(n, NR)); }

/* Copy `lines` x k into a strip of `width` lines, k-major, filled up with zeros. A line is a row of
   A, or a column of B; `across` and `along` are the strides. */
INLINE void pack(const float *data, size_t lines, size_t k, size_t across, size_t along,
                 const size_t width, float *out) {
    for (size_t p = 0; p < k; p++, data += along, out += width)
        if (lines == width && across == 1)
            memcpy(out, data, width * sizeof *out);
        else
            for (size_t i = 0; i < width; i++) out[i] = i < lines ? data[i * across] : 0;
}

/* A tile of C, MR rows of V vectors, += a strip of A times a strip of B. */
INLINE void multiply(const int V, size_t k, const float *a, const float *b, float *c, size_t ldc) {
    vec tile[MR][NV] = {{{0}}};
    for (size_t p = 0; p < k; p++, a += MR, b += V * LANES) {
#pragma GCC unroll 8
        for (int r = 0; r < MR; r++)
#pragma GCC unroll 4
            for (int v = 0; v < V; v++) tile[r][v] += a[r] * load(b + v * LANES);
    }
#pragma GCC unroll 8
    for (int r = 0; r < MR; r++)
#pragma GCC unroll 4
        for (int v = 0; v < V; v++) {
            float *to = c + (size_t)r * ldc + v * LANES;
            store(to, load(to) + tile[r][v]);
        }
}

/* With the number of vectors as a constant, the tile stays in registers. */
static void kernel(size_t vectors, size_t k, const float *a, const float *b, float *c, size_t ldc) {
    switch (vectors) {
    case 1: multiply(1, k, a, b, c, ldc); break;
    case 2: multiply(2, k, a, b, c, ldc); break;
    default: multiply(NV, k, a, b, c, ldc);
    }
}

/* The same where only m x n of the tile are in C. */
static void edge(size_t m, size_t n, size_t vectors, size_t k, const float *a, const float *b,
                 float *c, size_t ldc) {
    float whole[MR * NR] = {0};
    kernel(vectors, k, a, b, whole, NR);
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < n; j++) c[i * ldc + j] += whole[i * NR + j];
}

/* The strips of A of a block times a strip of B, which has n columns. */
static void multiply_strips(size_t m, size_t n, size_t k, const float *a, const float *b, float *c,
                            size_t ldc) {
    size_t vectors = round_up(n, LANES) / LANES;
    for (size_t i = 0; i < m; i += MR)
        if (m - i >= MR && n == vectors * LANES)
            kernel(vectors, k, a + i * k, b, c + i * ldc, ldc);
        else
            edge(smaller(MR, m - i), n, vectors, k, a + i * k, b, c + i * ldc, ldc);
}

void gemm(size_t m, size_t n, size_t k, struct matrix a, struct matrix b, float *c, size_t ldc,
          float *scratch) {
    float *block = scratch, *slab = scratch + (size_t)KC * MC;
    for (size_t p = 0; p < k; p += KC) {
        size_t depth = smaller(KC, k - p);
        for (size_t j = 0; j < n; j += NR) {
            size_t columns = smaller(NR, n - j), width = round_up(columns, LANES);
            pack(b.data + p * b.rows + j * b.columns, columns, depth, b.columns, b.rows, width,
                 slab + j * depth);
        }
        for (size_t top = 0; top < m; top += MC) {
            size_t height = smaller(MC, m - top);
            const float *from = a.data + top * a.rows + p * a.columns;
            for (size_t i = 0; i < height; i += MR)
                pack(from + i * a.rows, smaller(MR, height - i), depth, a.rows, a.columns, MR,
                     block + i * depth);
            for (size_t j = 0; j < n; j += NR)
                multiply_strips(height, smaller(NR, n - j), depth, block, slab + j * depth,
                                c + top * ldc + j, ldc);
        }
    }
}
