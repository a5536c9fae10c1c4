// The kernel for bf16 where vdpbf16ps multiplies it: two products and their sum per lane, in one instruction.

#include <immintrin.h>

#define ISA dp
#define TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512bf16")))
#define WIDTH 16
#define TILE 8
#include "names.h"

#define STEPS 1
typedef __m512 OF(vector);
typedef __m512bh OF(pairs), OF(factor);

INLINE OF(pairs) OF(read_weights)(const bf16 *from) { return (__m512bh)_mm512_loadu_si512(from); }

INLINE OF(factor) OF(factor_of)(OF(pairs) pairs, const int step) {
    (void)step;
    return pairs;
}

INLINE OF(factor) OF(broadcast_bf16)(const bf16 *pair, const int step) {
    int32_t both;
    __builtin_memcpy(&both, pair + step, sizeof both);
    return (__m512bh)_mm512_set1_epi32(both);
}

INLINE OF(vector) OF(multiply_add)(OF(vector) sum, OF(factor) weight, OF(factor) number) {
    return _mm512_dpbf16_ps(sum, weight, number);
}

INLINE OF(vector) OF(load_bf16)(const bf16 *from) {
    const __m256i raw = _mm256_loadu_si256((const __m256i *)from);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(raw), 16));
}

INLINE void OF(store_bf16)(bf16 *to, OF(vector) numbers) {
    _mm256_storeu_si256((__m256i *)to, (__m256i)_mm512_cvtneps_pbh(numbers));
}

#define NUMBER bf16
#include "products.h"
#undef NUMBER

#undef STEPS
#undef ISA
#undef TARGET
#undef WIDTH
#undef TILE
