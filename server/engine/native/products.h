// Both products (`Products` in lora.c) of one kernel on one kind of number, out of the few operations that
// differ between kernels. Included once per kernel and NUMBER.
//
// The 16 lanes of a block are VECTORS vectors. Counts of rows are constants, so that sums stay in registers.

#define VECTORS (LANES / WIDTH)

// sums[row][way][vector] += the products of one pair of inputs: 16 lanes of `weights`, and each row's at x[row] + k.
INLINE void ON(add_pair)(OF(vector) *sums, const bf16 *weights, const NUMBER *const *x, int64_t k, const int count,
                         const int way, const int ways) {
    OF(pairs) pairs[VECTORS];
    __builtin_prefetch((const char *)weights + AHEAD);
    for (int v = 0; v < VECTORS; v++) pairs[v] = OF(read_weights)(weights + v * 2 * WIDTH);
    for (int step = 0; step < STEPS; step++) {
        OF(factor) factors[VECTORS];
        for (int v = 0; v < VECTORS; v++) factors[v] = OF(factor_of)(pairs[v], step);
        for (int row = 0; row < count; row++) {
            const OF(factor) number = ON(broadcast)(x[row] + k, step);
            for (int v = 0; v < VECTORS; v++) {
                OF(vector) *sum = &sums[(row * ways + way) * VECTORS + v];
                *sum = OF(multiply_add)(*sum, factors[v], number);
            }
        }
    }
}

// A single row has too few sums to keep the units busy, so inputs are shared out over `ways` of them.
INLINE void ON(shrink_tile)(const void *const *x, const bf16 *a, int64_t inputs, void *const *low, float scale,
                            const int count, const int ways) {
    OF(vector) sums[TILE * VECTORS];
    for (int i = 0; i < count * ways * VECTORS; i++) sums[i] = (OF(vector)){0};
    int64_t k = 0;
    for (; k + 2 * ways <= inputs; k += 2 * ways)
        for (int way = 0; way < ways; way++)
            ON(add_pair)(sums, a + (k + 2 * way) * LANES, (const NUMBER *const *)x, k + 2 * way, count, way, ways);
    for (; k < inputs; k += 2)
        ON(add_pair)(sums, a + k * LANES, (const NUMBER *const *)x, k, count, 0, ways);
    for (int row = 0; row < count; row++)
        for (int v = 0; v < VECTORS; v++) {
            OF(vector) sum = sums[row * ways * VECTORS + v];
            for (int way = 1; way < ways; way++) sum += sums[(row * ways + way) * VECTORS + v];
            ON(store)((NUMBER *)low[row] + v * WIDTH, sum * scale);
        }
}

TARGET static void ON(shrink)(const void *const *x, const bf16 *a, int64_t inputs, void *const *low, float scale,
                              int count) {
    if (TILE >= 8)
        for (; count >= 8; count -= 8, x += 8, low += 8) ON(shrink_tile)(x, a, inputs, low, scale, 8, TILE / 8);
    if (TILE >= 4)
        for (; count >= 4; count -= 4, x += 4, low += 4) ON(shrink_tile)(x, a, inputs, low, scale, 4, TILE / 4);
    for (; count >= 2; count -= 2, x += 2, low += 2) ON(shrink_tile)(x, a, inputs, low, scale, 2, TILE / 2);
    if (count) ON(shrink_tile)(x, a, inputs, low, scale, 1, TILE);
}

// `count` rows share what is read of B. `blocks` is a constant too where it is small.
INLINE void ON(expand_tile)(NUMBER *restrict const *y, const NUMBER *restrict const *low, const bf16 *restrict b,
                            int64_t outputs, const int64_t blocks, const int count) {
    for (int64_t out = 0; out < outputs; out++, b += blocks * PAIRS * 2 * LANES) {
        OF(vector) sums[TILE * VECTORS];
        for (int row = 0; row < count; row++)
            for (int v = 0; v < VECTORS; v++)
                sums[row * VECTORS + v] = ON(load)(y[row] + out * LANES + v * WIDTH);
        for (int64_t p = 0; p < blocks * PAIRS; p++)
            ON(add_pair)(sums, b + p * 2 * LANES, (const NUMBER *const *)low, 2 * p, count, 0, 1);
        for (int row = 0; row < count; row++)
            for (int v = 0; v < VECTORS; v++)
                ON(store)(y[row] + out * LANES + v * WIDTH, sums[row * VECTORS + v]);
    }
}

INLINE void ON(expand_by)(NUMBER *restrict const *y, const NUMBER *restrict const *low, const bf16 *b,
                          int64_t outputs, int64_t blocks, const int count) {
    if (blocks == 1) ON(expand_tile)(y, low, b, outputs, 1, count);
    else if (blocks == 2) ON(expand_tile)(y, low, b, outputs, 2, count);
    else ON(expand_tile)(y, low, b, outputs, blocks, count);
}

TARGET static void ON(expand)(char *y, int64_t y_stride, const int32_t *rows, int64_t count, const char *low,
                              int64_t low_stride, const bf16 *b, int64_t blocks, int64_t outputs) {
    for (int64_t first = 0; first < count; first += ROWS) {
        int64_t left = count - first < ROWS ? count - first : ROWS;
        NUMBER *all_to[ROWS], **to = all_to;
        const NUMBER *all_from[ROWS], **from = all_from;
        for (int64_t i = 0; i < left; i++) {
            to[i] = (NUMBER *)(y + rows[first + i] * y_stride);
            from[i] = (const NUMBER *)(low + (first + i) * low_stride);
        }
        if (TILE >= 8)
            for (; left >= 8; left -= 8, to += 8, from += 8) ON(expand_by)(to, from, b, outputs, blocks, 8);
        if (TILE >= 4)
            for (; left >= 4; left -= 4, to += 4, from += 4) ON(expand_by)(to, from, b, outputs, blocks, 4);
        for (; left >= 2; left -= 2, to += 2, from += 2) ON(expand_by)(to, from, b, outputs, blocks, 2);
        if (left) ON(expand_by)(to, from, b, outputs, blocks, 1);
    }
}

#undef VECTORS
