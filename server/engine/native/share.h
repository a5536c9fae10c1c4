// How threads share work that is runs of equal units, in the order in which their weights lie in memory.
//
// Each thread takes one stretch of all units, as long as its part of their weight: so the processor reads ahead,
// which it does not where units are dealt out in turn, and a long prompt beside short turns is shared too.

#pragma once
#include <stdint.h>

typedef struct {
    int64_t at, from, to;
} Share;

static inline Share share(int64_t total, int thread, int threads) {
    return (Share){0, total * thread / threads, total * (thread + 1) / threads};
}

// How many of the next `count` units begin before `bound`.
static inline int64_t before(int64_t bound, int64_t at, int64_t count, int64_t weight) {
    const int64_t units = bound > at ? (bound - at + weight - 1) / weight : 0;
    return units < count ? units : count;
}

typedef struct {
    int64_t first, last;
} Units;

// Which of the next `count` units are the thread's: [first, last).
static inline Units mine(Share *share, int64_t count, int64_t weight) {
    const int64_t at = share->at;
    share->at += count * weight;
    return (Units){before(share->from, at, count, weight), before(share->to, at, count, weight)};
}
