/* Vectors of floats, as wide as the processor has them: AVX-512, AVX, or a portable 128 bits.

   The type is GCC's and Clang's vector extension, whose operators work lane by lane and take
   scalars too; only what it lacks is written with intrinsics. It may be unaligned. */
#pragma once

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__)
#include <immintrin.h>
#define LANES 16
#define ISA "AVX-512"
#elif defined(__AVX2__) && defined(__FMA__)
#include <immintrin.h>
#define LANES 8
#define ISA "AVX2"
#else
#define LANES 4
#define ISA "portable"
#endif

#define INLINE static inline __attribute__((always_inline))

INLINE size_t smaller(size_t a, size_t b) { return a < b ? a : b; }
INLINE size_t round_up(size_t n, size_t step) { return (n + step - 1) / step * step; }

typedef float vec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef uint32_t uvec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

INLINE vec load(const float *p) { return *(const vec *)p; }
INLINE void store(float *p, vec x) { *(vec *)p = x; }
INLINE vec splat(float x) { return x - (vec){0}; }

INLINE vec vec_sqrt(vec x) {
#if LANES == 16
    return (vec)_mm512_sqrt_ps((__m512)x);
#elif LANES == 8
    return (vec)_mm256_sqrt_ps((__m256)x);
#else
    for (int i = 0; i < LANES; i++) x[i] = sqrtf(x[i]);
    return x;
#endif
}

/* Lane by lane, a where the mask is set and b elsewhere. */
INLINE vec choose(uvec mask, vec a, vec b) { return (vec)((mask & (uvec)a) | (~mask & (uvec)b)); }

INLINE vec vec_abs(vec x) { return (vec)((uvec)x & 0x7fffffffu); }

/* Ones in the first `lanes` lanes. */
INLINE uvec first_lanes(size_t lanes) {
    static const uint32_t ones[2 * LANES] = {[0 ... LANES - 1] = ~0u};
    return *(const uvec *)(ones + LANES - (smaller(lanes, LANES)));
}

/* The sum and the largest of the lanes, by halves. */
#if LANES == 16
INLINE float vec_sum(vec x) { return _mm512_reduce_add_ps((__m512)x); }
INLINE float vec_max(vec x) { return _mm512_reduce_max_ps((__m512)x); }
#else
INLINE float vec_sum(vec x) {
    float half[LANES];
    store(half, x);
    for (int size = LANES / 2; size; size /= 2)
        for (int i = 0; i < size; i++) half[i] += half[i + size];
    return half[0];
}

INLINE float vec_max(vec x) {
    float half[LANES];
    store(half, x);
    for (int size = LANES / 2; size; size /= 2)
        for (int i = 0; i < size; i++)
            if (half[i + size] > half[i]) half[i] = half[i + size];
    return half[0];
}
#endif

/* e^x to about one unit in the last place, for x cut to [-87, 88]; NaN stays NaN.

   x = n ln 2 + r with |r| <= ln(2) / 2: a polynomial gives e^r (the coefficients are those of
   Cephes' expf), and n goes into the exponent. Adding 1.5 * 2^23 rounds to an integer, which
   the lowest bits of the sum then hold. ln 2 has two parts, so that n ln 2 is exact. */
INLINE vec vec_exp(vec x) {
    const float round = 12582912.0f;
    x = choose((uvec)(x < -87.0f), splat(-87.0f), x);
    x = choose((uvec)(x > 88.0f), splat(88.0f), x);
    vec shifted = x * 1.44269504f + round;
    vec n = shifted - round;
    vec r = x - n * 0.693359375f + n * 2.12194440e-4f;
    vec p = splat(1.9875691500e-4f);
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    return p * (vec)(((uvec)shifted << 23) + 0x3f800000u);
}

INLINE vec vec_sigmoid(vec x) { return 1.0f / (1.0f + vec_exp(-x)); }
