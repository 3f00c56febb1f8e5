/* Vectors of floats, as wide as the processor has them: AVX-512, AVX, or a portable 128 bits.

   The type is GCC's and Clang's vector extension, whose operators work lane by lane and take
   scalars too; only what it lacks is written with intrinsics. It may be unaligned. */
#ifndef VEC_H
#define VEC_H

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

typedef float vec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef uint32_t uvec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

INLINE vec load(const float *p) { return *(const vec *)p; }
INLINE void store(float *p, vec x) { *(vec *)p = x; }
INLINE vec splat(float x) { return x - (vec){0}; }

/* The first `lanes` floats at p, and zeros; what lies behind them is not read. */
INLINE vec load_part(const float *p, size_t lanes) {
#if LANES == 16
    return (vec)_mm512_maskz_loadu_ps((__mmask16)((1u << lanes) - 1), p);
#elif LANES == 8
    static const int32_t ones[16] = {-1, -1, -1, -1, -1, -1, -1, -1};
    return (vec)_mm256_maskload_ps(p, _mm256_loadu_si256((const __m256i *)(ones + 8 - lanes)));
#else
    vec x = {0};
    for (size_t i = 0; i < lanes; i++) x[i] = p[i];
    return x;
#endif
}

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

INLINE float vec_sum(vec x) {
    float sum = 0;
    for (int i = 0; i < LANES; i++) sum += x[i];
    return sum;
}

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

#endif
