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

/* Copy a block of `lines` x k into strips of `width` lines, k-major, filled up with zeros.
   A line is a row of A, or a column of B; `across` and `along` are the strides. */
INLINE void pack(const float *data, size_t lines, size_t k, size_t across, size_t along,
                 const size_t width, float *out) {
    for (size_t first = 0; first < lines; first += width) {
        size_t present = smaller(width, lines - first);
        for (size_t p = 0; p < k; p++, out += width) {
            const float *from = data + first * across + p * along;
            if (present == width && across == 1)
                memcpy(out, from, width * sizeof *out);
            else
                for (size_t i = 0; i < width; i++) out[i] = i < present ? from[i * across] : 0;
        }
    }
}

/* A tile of C, (MR, NR), += a strip of A times a strip of B. */
static void kernel(size_t k, const float *a, const float *b, float *c, size_t ldc) {
    vec tile[MR][NV] = {{{0}}};
    for (size_t p = 0; p < k; p++, a += MR, b += NR) {
        vec row[NV];
        for (int v = 0; v < NV; v++) row[v] = load(b + v * LANES);
#pragma GCC unroll 8
        for (int r = 0; r < MR; r++)
#pragma GCC unroll 4
            for (int v = 0; v < NV; v++) tile[r][v] += a[r] * row[v];
    }
#pragma GCC unroll 8
    for (int r = 0; r < MR; r++)
#pragma GCC unroll 4
        for (int v = 0; v < NV; v++) {
            float *to = c + (size_t)r * ldc + v * LANES;
            store(to, load(to) + tile[r][v]);
        }
}

/* The same where only m x n of the tile are in C. */
static void edge(size_t m, size_t n, size_t k, const float *a, const float *b, float *c,
                 size_t ldc) {
    float whole[MR * NR] = {0};
    kernel(k, a, b, whole, NR);
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < n; j++) c[i * ldc + j] += whole[i * NR + j];
}

void gemm(size_t m, size_t n, size_t k, struct matrix a, struct matrix b, float *c, size_t ldc,
          float *scratch) {
    float *block = scratch, *slab = scratch + (size_t)KC * MC;
    for (size_t p = 0; p < k; p += KC) {
        size_t depth = smaller(KC, k - p);
        pack(b.data + p * b.rows, n, depth, b.columns, b.rows, NR, slab);
        for (size_t top = 0; top < m; top += MC) {
            size_t height = smaller(MC, m - top);
            pack(a.data + top * a.rows + p * a.columns, height, depth, a.rows, a.columns, MR, block);
            for (size_t j = 0; j < n; j += NR)
                for (size_t i = 0; i < height; i += MR) {
                    const float *left = block + i * depth, *right = slab + j * depth;
                    float *to = c + (top + i) * ldc + j;
                    if (height - i >= MR && n - j >= NR)
                        kernel(depth, left, right, to, ldc);
                    else
                        edge(smaller(MR, height - i), smaller(NR, n - j), depth, left, right, to, ldc);
                }
        }
    }
}
