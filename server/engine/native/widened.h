// One kernel in the compiler's own vectors: bf16 is widened to float32 as it is read. Included once per kernel.
//
// Takes ISA (its name), TARGET (the attribute that lets the compiler use it), WIDTH (float32s in a vector) and
// TILE (rows at once, as many as its registers hold sums of); makes shrink_ and expand_ of bf16 and of float.

#include "names.h"

typedef float OF(vector) __attribute__((vector_size(4 * WIDTH)));
typedef uint32_t OF(bits) __attribute__((vector_size(4 * WIDTH)));
typedef bf16 OF(halves) __attribute__((vector_size(2 * WIDTH)));

// Of a pair, multiplied one after the other: so that few factors are held at once, beside the sums.
#define STEPS 2
typedef OF(bits) OF(pairs);
typedef OF(vector) OF(factor);

// The first or the second numbers of pairs in bf16, which lie in memory in this order.
INLINE OF(factor) OF(factor_of)(OF(bits) pairs, const int step) {
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    const int upper = step == 0;
#else
    const int upper = step == 1;
#endif
    return (OF(factor))(upper ? pairs & 0xffff0000u : pairs << 16);
}

INLINE OF(pairs) OF(read_weights)(const bf16 *from) {
    OF(pairs) pairs;
    __builtin_memcpy(&pairs, from, sizeof pairs);
    return pairs;
}

INLINE OF(factor) OF(broadcast_bf16)(const bf16 *pair, const int step) {
    uint32_t both;
    __builtin_memcpy(&both, pair, sizeof both);
    return OF(factor_of)(both - (OF(bits)){0}, step);
}

// Minus zero, which the compiler drops: plus zero it must add, as it changes a negative zero.
INLINE OF(factor) OF(broadcast_float)(const float *pair, const int step) { return pair[step] - (OF(vector)){0}; }

INLINE OF(vector) OF(multiply_add)(OF(vector) sum, OF(factor) weight, OF(factor) number) {
    return sum + weight * number;
}

INLINE OF(vector) OF(load_bf16)(const bf16 *from) {
    OF(halves) raw;
    __builtin_memcpy(&raw, from, sizeof raw);
    return (OF(vector))(__builtin_convertvector(raw, OF(bits)) << 16);
}

INLINE OF(vector) OF(load_float)(const float *from) {
    OF(vector) numbers;
    __builtin_memcpy(&numbers, from, sizeof numbers);
    return numbers;
}

// To the nearest, to even between two. What is not a number would round to infinity or to zero.
INLINE void OF(store_bf16)(bf16 *to, OF(vector) numbers) {
    const OF(bits) raw = (OF(bits))numbers, not_a_number = (OF(bits))(numbers != numbers);
    const OF(bits) rounded = raw + 0x7fffu + (raw >> 16 & 1u);
    const OF(bits) kept = (rounded & ~not_a_number) | ((raw | 0x400000u) & not_a_number);
    const OF(halves) upper = __builtin_convertvector(kept >> 16, OF(halves));
    __builtin_memcpy(to, &upper, sizeof upper);
}

INLINE void OF(store_float)(float *to, OF(vector) numbers) { __builtin_memcpy(to, &numbers, sizeof numbers); }

#define NUMBER bf16
#include "products.h"
#undef NUMBER

#define NUMBER float
#include "products.h"
#undef NUMBER

#undef STEPS
#undef ISA
#undef TARGET
#undef WIDTH
#undef TILE
