// One kernel in the compiler's own vectors: bf16 is widened to float32 as it is read. Included once per kernel.
//
// Takes ISA (its name), TARGET (the attribute that lets the compiler use it), WIDTH (float32s in a vector) and
// TILE (rows at once, as many as its registers hold sums of); makes shrink_ and expand_ of bf16 and of float.

#include "names.h"

typedef float OF(vector) __attribute__((vector_size(4 * WIDTH)));
typedef uint32_t OF(bits) __attribute__((vector_size(4 * WIDTH)));
typedef bf16 OF(halves) __attribute__((vector_size(2 * WIDTH)));

// Both numbers of WIDTH pairs.
typedef struct {
    OF(vector) first, second;
} OF(weight), OF(pair);

INLINE OF(weight) OF(split)(OF(bits) two) {
    OF(vector) low = (OF(vector))(two << 16), high = (OF(vector))(two & 0xffff0000u);
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    return (OF(weight)){high, low};
#else
    return (OF(weight)){low, high};
#endif
}

INLINE OF(weight) OF(read_weight)(const bf16 *from) {
    OF(bits) two;
    __builtin_memcpy(&two, from, sizeof two);
    return OF(split)(two);
}

INLINE OF(pair) OF(pair_of_bf16)(const bf16 *from) {
    uint32_t both;
    __builtin_memcpy(&both, from, sizeof both);
    return OF(split)(both - (OF(bits)){0});
}

// Minus zero, which the compiler drops: plus zero it must add, as it changes a negative zero.
INLINE OF(pair) OF(pair_of_float)(const float *from) {
    return (OF(pair)){from[0] - (OF(vector)){0}, from[1] - (OF(vector)){0}};
}

INLINE OF(vector) OF(dot)(OF(vector) sum, OF(weight) weight, OF(pair) pair) {
    sum += weight.first * pair.first;
    return sum + weight.second * pair.second;
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

#undef ISA
#undef TARGET
#undef WIDTH
#undef TILE
