// LoRA products of one linear layer over a batch that mixes adapters: y[row] += (x[row] A^T) B^T, in bf16.
//
// Called once per layer and step by server/engine/lora_native.py, which owns all memory and lays out weights:
// a block of A is [inputs / 2][16 ranks][2], a block of B [outputs / 16][8 pairs of ranks][16 outputs][2],
// so that vdpbf16ps takes 16 ranks, or 16 outputs, of two consecutive inputs at once. Products are summed in
// float32; the low-rank row between the two is rounded to bf16, as PEFT does over a bf16 base.

#include "share.h"

#if defined(__x86_64__) && defined(__GNUC__) && !defined(CHORUS_NO_KERNEL)
#include <immintrin.h>
#ifdef _OPENMP
#include <omp.h>
#endif
#define FAST __attribute__((target("avx512f,avx512bw,avx512vl,avx512bf16")))
#define INLINE FAST static inline __attribute__((always_inline))

enum { LANES = 16, PAIRS = LANES / 2, ROWS = 8, CHUNK = 32 };
// A weight out of memory takes about as long as multiplying it with so many rows.
enum { READ = 8 };

// Rows grouped by slot. `rows[starts[g] .. starts[g + 1]]` are those that slot `slots[g]` answers.
typedef struct {
    int64_t groups;
    const int32_t *slots, *starts, *rows;
} Plan;

// One adapter's weights for one slice of the layer: `blocks` of 16 ranks; none where it has no such weights.
typedef struct {
    int64_t blocks;
    const uint16_t *a, *b;
} Weights;

// `weights[slot * slices + slice]`; a slice adds to the outputs [offsets[slice], offsets[slice + 1]).
typedef struct {
    int64_t inputs, slices;
    const int64_t *offsets;
    const Weights *weights;
} Layer;

INLINE __m512bh pair(const uint16_t *two) {
    int32_t both;
    __builtin_memcpy(&both, two, sizeof both);
    return (__m512bh)_mm512_set1_epi32(both);
}

INLINE __m512bh block(const uint16_t *from) { return (__m512bh)_mm512_loadu_si512(from); }

// low[row][16] of `count` rows (a constant) for one block of 16 ranks. A single row has too few sums to keep
// the unit busy, so inputs are shared out over `WAYS` of them.
INLINE void shrink(const uint16_t *const *x, const uint16_t *a, int64_t inputs, uint16_t **low, float scale,
                   const int count, const int ways) {
    __m512 sums[ROWS];
    for (int i = 0; i < count * ways; i++) sums[i] = _mm512_setzero_ps();
    int64_t k = 0;
    for (; k + 2 * ways <= inputs; k += 2 * ways)
        for (int way = 0; way < ways; way++) {
            const __m512bh weight = block(a + (k + 2 * way) * LANES);
            for (int row = 0; row < count; row++)
                sums[row * ways + way] =
                    _mm512_dpbf16_ps(sums[row * ways + way], weight, pair(x[row] + k + 2 * way));
        }
    for (; k < inputs; k += 2)
        for (int row = 0; row < count; row++)
            sums[row * ways] = _mm512_dpbf16_ps(sums[row * ways], block(a + k * LANES), pair(x[row] + k));
    for (int row = 0; row < count; row++) {
        __m512 sum = sums[row * ways];
        for (int way = 1; way < ways; way++) sum = _mm512_add_ps(sum, sums[row * ways + way]);
        sum = _mm512_mul_ps(sum, _mm512_set1_ps(scale));
        _mm256_storeu_si256((__m256i *)low[row], (__m256i)_mm512_cvtneps_pbh(sum));
    }
}

FAST static void shrink_rows(const uint16_t *const *x, const uint16_t *a, int64_t inputs, uint16_t **low,
                             float scale, int count) {
    for (; count >= 8; count -= 8, x += 8, low += 8) shrink(x, a, inputs, low, scale, 8, 1);
    for (; count >= 4; count -= 4, x += 4, low += 4) shrink(x, a, inputs, low, scale, 4, 2);
    for (; count >= 2; count -= 2, x += 2, low += 2) shrink(x, a, inputs, low, scale, 2, 4);
    if (count) shrink(x, a, inputs, low, scale, 1, 8);
}

// y[row][0 .. 16 * outputs] += low[row] B^T of `count` rows (a constant), which share what is read of B: `blocks`
// of 16 ranks (a constant too where it is small) for each 16 outputs.
INLINE void expand(uint16_t *restrict const *y, const uint16_t *restrict const *low, const uint16_t *restrict b,
                   int64_t outputs, const int64_t blocks, const int count) {
    for (int64_t out = 0; out < outputs; out++, b += blocks * PAIRS * 2 * LANES) {
        __m512 sums[ROWS];
        for (int row = 0; row < count; row++) {
            const __m256i old = _mm256_loadu_si256((const __m256i *)(y[row] + out * LANES));
            sums[row] = _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(old), 16));
        }
        for (int64_t p = 0; p < blocks * PAIRS; p++) {
            const __m512bh weight = block(b + p * 2 * LANES);
            for (int row = 0; row < count; row++)
                sums[row] = _mm512_dpbf16_ps(sums[row], weight, pair(low[row] + 2 * p));
        }
        for (int row = 0; row < count; row++)
            _mm256_storeu_si256((__m256i *)(y[row] + out * LANES), (__m256i)_mm512_cvtneps_pbh(sums[row]));
    }
}

INLINE void expand_by(uint16_t *restrict const *y, const uint16_t *restrict const *low, const uint16_t *b,
                      int64_t outputs, int64_t blocks, const int count) {
    if (blocks == 1) expand(y, low, b, outputs, 1, count);
    else if (blocks == 2) expand(y, low, b, outputs, 2, count);
    else expand(y, low, b, outputs, blocks, count);
}

FAST static void expand_rows(uint16_t *y, int64_t y_stride, const int32_t *rows, int64_t count,
                             const uint16_t *low, int64_t low_stride, const uint16_t *b, int64_t blocks,
                             int64_t outputs) {
    for (int64_t first = 0; first < count; first += ROWS) {
        int64_t left = count - first < ROWS ? count - first : ROWS;
        uint16_t *all_to[ROWS], **to = all_to;
        const uint16_t *all_from[ROWS], **from = all_from;
        for (int64_t i = 0; i < left; i++) {
            to[i] = y + rows[first + i] * y_stride;
            from[i] = low + (first + i) * low_stride;
        }
        if (left == 8) expand_by(to, from, b, outputs, blocks, 8), left = 0;
        if (left >= 4) expand_by(to, from, b, outputs, blocks, 4), left -= 4, to += 4, from += 4;
        if (left >= 2) expand_by(to, from, b, outputs, blocks, 2), left -= 2, to += 2, from += 2;
        if (left) expand_by(to, from, b, outputs, blocks, 1);
    }
}

static inline int64_t rows_of(const Plan *plan, int64_t g) { return plan->starts[g + 1] - plan->starts[g]; }

static inline const Weights *weights_of(const Plan *plan, const Layer *layer, int64_t g, int64_t s) {
    return &layer->weights[plan->slots[g] * layer->slices + s];
}

static inline int64_t outputs_of(const Layer *layer, int64_t s) {
    return (layer->offsets[s + 1] - layer->offsets[s]) / LANES;
}

// A unit is a block of ranks for up to ROWS rows.
FAST static void shrink_all(const Plan *plan, const Layer *layer, const uint16_t *x, int64_t x_stride,
                            uint16_t *low, int64_t low_stride, float scale, int thread, int threads) {
    int64_t total = 0;
    for (int64_t g = 0; g < plan->groups; g++)
        for (int64_t s = 0; s < layer->slices; s++)
            total += weights_of(plan, layer, g, s)->blocks *
                     (rows_of(plan, g) + (rows_of(plan, g) + ROWS - 1) / ROWS * READ);
    Share part = share(total, thread, threads);
    for (int64_t g = 0; g < plan->groups; g++)
        for (int64_t first = plan->starts[g]; first < plan->starts[g + 1]; first += ROWS) {
            const int64_t left = plan->starts[g + 1] - first, count = left < ROWS ? left : ROWS;
            int64_t column = 0;
            for (int64_t s = 0; s < layer->slices; s++) {
                const Weights *w = weights_of(plan, layer, g, s);
                const Units units = mine(&part, w->blocks, count + READ);
                for (int64_t r = units.first; r < units.last; r++) {
                    const uint16_t *from[ROWS];
                    uint16_t *to[ROWS];
                    for (int64_t i = 0; i < count; i++) {
                        from[i] = x + plan->rows[first + i] * x_stride;
                        to[i] = low + (first + i) * low_stride + column + r * LANES;
                    }
                    shrink_rows(from, w->a + r * layer->inputs * LANES, layer->inputs, to, scale, (int)count);
                }
                column += w->blocks * LANES;
            }
        }
}

// A unit is a block of outputs for all rows of a group; CHUNK of them stay near while rows go by.
FAST static void expand_all(const Plan *plan, const Layer *layer, uint16_t *y, int64_t y_stride,
                            const uint16_t *low, int64_t low_stride, int thread, int threads) {
    int64_t total = 0;
    for (int64_t g = 0; g < plan->groups; g++)
        for (int64_t s = 0; s < layer->slices; s++)
            total += outputs_of(layer, s) * weights_of(plan, layer, g, s)->blocks * (rows_of(plan, g) + READ);
    Share part = share(total, thread, threads);
    for (int64_t g = 0; g < plan->groups; g++) {
        const int64_t rows = rows_of(plan, g);
        int64_t column = 0;
        for (int64_t s = 0; s < layer->slices; s++) {
            const Weights *w = weights_of(plan, layer, g, s);
            if (!w->blocks) continue;
            const Units units = mine(&part, outputs_of(layer, s), w->blocks * (rows + READ));
            for (int64_t o = units.first; o < units.last; o += CHUNK) {
                const int64_t left = units.last - o, count = left < CHUNK ? left : CHUNK;
                expand_rows(y + layer->offsets[s] + o * LANES, y_stride, plan->rows + plan->starts[g], rows,
                            low + plan->starts[g] * low_stride + column, low_stride,
                            w->b + o * w->blocks * PAIRS * 2 * LANES, w->blocks, count);
            }
            column += w->blocks * LANES;
        }
    }
}

// y [rows, y_stride] and x [rows, x_stride] are bf16; `low` has room for low_stride numbers for each row of
// the plan; low_stride is at least 16 ranks times the blocks of all slices of any adapter.
void chorus_lora_add(const Plan *plan, const Layer *layer, uint16_t *y, int64_t y_stride, const uint16_t *x,
                     int64_t x_stride, uint16_t *low, int64_t low_stride, double scale, int threads) {
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        int thread = 0, team = 1;
#ifdef _OPENMP
        thread = omp_get_thread_num(), team = omp_get_num_threads();
#endif
        shrink_all(plan, layer, x, x_stride, low, low_stride, (float)scale, thread, team);
#pragma omp barrier
        expand_all(plan, layer, y, y_stride, low, low_stride, thread, team);
    }
}

// bf16 [lanes, depth], rows `stride` numbers apart, to [blocks][pairs][16 lanes][2], with zeros where there is
// nothing: blocks of 16 lanes, pairs of two consecutive numbers.
void chorus_lora_pack(uint16_t *to, const uint16_t *from, int64_t lanes, int64_t depth, int64_t stride,
                      int64_t blocks, int64_t pairs) {
    for (int64_t lane = 0; lane < blocks * LANES; lane++) {
        uint16_t *out = to + (lane / LANES * pairs * LANES + lane % LANES) * 2;
        const int64_t most = lane < lanes ? depth : 0;
        const uint16_t *row = from + lane * stride;
        int64_t k = 0;
        for (; k + 2 <= most; k += 2) __builtin_memcpy(out + k * LANES, row + k, 2 * sizeof *row);
        for (; k < 2 * pairs; k += 2) {
            out[k * LANES] = k < most ? row[k] : 0;
            out[k * LANES + 1] = 0;
        }
    }
}

int chorus_lora_usable(void) {
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bf16");
}

#else
void chorus_lora_add(void) {}
void chorus_lora_pack(void) {}
int chorus_lora_usable(void) { return 0; }
#endif
