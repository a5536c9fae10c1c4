// Names of what is included once per kernel (ISA) and kind of number (NUMBER).
#pragma once
#define JOINED_(a, b) a##_##b
#define JOINED(a, b) JOINED_(a, b)
#define OF(name) JOINED(name, ISA)                // vector_avx2
#define ON(name) JOINED(JOINED(name, NUMBER), ISA)  // shrink_float_avx2
#define INLINE TARGET static inline __attribute__((always_inline))
