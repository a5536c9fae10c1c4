// LoRA products of one linear layer over a batch that mixes adapters: y[row] += (x[row] A^T) B^T.
//
// Called once per layer and step by server/engine/lora_native.py, which owns all memory and lays out weights, in
// bf16: a block of A is [inputs / 2][16 ranks][2], a block of B [outputs / 16][8 pairs of ranks][16 outputs][2],
// so that 16 ranks, or 16 outputs, of two consecutive inputs are read at once. That is how vdpbf16ps takes them;
// without it a shift and a mask make two float32 vectors of them. x, y and the low-rank row between the two
// products are all bf16, rounded there as PEFT does over a bf16 base, or all float32. Sums are float32.

#include <stddef.h>

#include "share.h"
#ifdef _OPENMP
#include <omp.h>
#endif

typedef uint16_t bf16;

enum { LANES = 16, PAIRS = LANES / 2, ROWS = 8, CHUNK = 32 };
// A weight out of memory takes about as long as multiplying it with so many rows.
enum { READ = 8 };
// Bytes ahead at which weights are asked for: processors read ahead by themselves, but not past a page's end.
enum { AHEAD = 4096 };

// Rows grouped by slot. `rows[starts[g] .. starts[g + 1]]` are those that slot `slots[g]` answers.
typedef struct {
    int64_t groups;
    const int32_t *slots, *starts, *rows;
} Plan;

// One adapter's weights for one slice of the layer: `blocks` of 16 ranks; none where it has no such weights.
typedef struct {
    int64_t blocks;
    const bf16 *a, *b;
} Weights;

// `weights[slot * slices + slice]`; a slice adds to the outputs [offsets[slice], offsets[slice + 1]).
typedef struct {
    int64_t inputs, slices;
    const int64_t *offsets;
    const Weights *weights;
} Layer;

// Both products of rows in one kind of number; strides are in bytes.
typedef struct {
    // low[row][16] = scale * x[row] A^T for one block of 16 ranks; `count` rows.
    void (*shrink)(const void *const *x, const bf16 *a, int64_t inputs, void *const *low, float scale, int count);
    // y[rows[i]][0 .. 16 * outputs] += low[i] B^T, for `count` rows and `blocks` of 16 ranks.
    void (*expand)(char *y, int64_t y_stride, const int32_t *rows, int64_t count, const char *low,
                   int64_t low_stride, const bf16 *b, int64_t blocks, int64_t outputs);
} Products;

#if defined(__x86_64__)
#include "dpbf16.h"

#define ISA avx512
#define TARGET __attribute__((target("avx512f,avx512bw,avx512vl")))
#define WIDTH 16
#define TILE 8
#include "widened.h"

#define ISA avx2
#define TARGET __attribute__((target("avx2,fma")))
#define WIDTH 8
#define TILE 4
#include "widened.h"

static int runs_avx2(void) { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }

static int runs_avx512(void) {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl");
}

static int runs_avx512_bf16(void) { return runs_avx512() && __builtin_cpu_supports("avx512bf16"); }
#endif

// What any processor runs: the compiler's own vectors of 16 bytes, which are NEON on aarch64.
#define ISA generic
#define TARGET
#define WIDTH 4
#define TILE 4
#include "widened.h"

static int runs_generic(void) { return 1; }

typedef struct {
    const char *name;
    int (*runs)(void);
    Products on_bf16, on_float;
} Kernel;

// The best first.
static const Kernel KERNELS[] = {
#if defined(__x86_64__)
    {"avx512_bf16", runs_avx512_bf16, {shrink_bf16_dp, expand_bf16_dp}, {shrink_float_avx512, expand_float_avx512}},
    {"avx512", runs_avx512, {shrink_bf16_avx512, expand_bf16_avx512}, {shrink_float_avx512, expand_float_avx512}},
    {"avx2", runs_avx2, {shrink_bf16_avx2, expand_bf16_avx2}, {shrink_float_avx2, expand_float_avx2}},
#endif
    {"generic", runs_generic, {shrink_bf16_generic, expand_bf16_generic}, {shrink_float_generic, expand_float_generic}},
};

static inline int64_t rows_of(const Plan *plan, int64_t g) { return plan->starts[g + 1] - plan->starts[g]; }

static inline const Weights *weights_of(const Plan *plan, const Layer *layer, int64_t g, int64_t s) {
    return &layer->weights[plan->slots[g] * layer->slices + s];
}

static inline int64_t outputs_of(const Layer *layer, int64_t s) {
    return (layer->offsets[s + 1] - layer->offsets[s]) / LANES;
}

// A unit is a block of ranks for up to ROWS rows. `size` is that of a number.
static void shrink_all(const Products *products, int64_t size, const Plan *plan, const Layer *layer,
                       const char *x, int64_t x_stride, char *low, int64_t low_stride, float scale, int thread,
                       int threads) {
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
                    const void *from[ROWS];
                    void *to[ROWS];
                    for (int64_t i = 0; i < count; i++) {
                        from[i] = x + plan->rows[first + i] * x_stride;
                        to[i] = low + (first + i) * low_stride + (column + r * LANES) * size;
                    }
                    products->shrink(from, w->a + r * layer->inputs * LANES, layer->inputs, to, scale, (int)count);
                }
                column += w->blocks * LANES;
            }
        }
}

// A unit is a block of outputs for all rows of a group; CHUNK of them stay near while rows go by.
static void expand_all(const Products *products, int64_t size, const Plan *plan, const Layer *layer, char *y,
                       int64_t y_stride, const char *low, int64_t low_stride, int thread, int threads) {
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
                products->expand(y + (layer->offsets[s] + o * LANES) * size, y_stride,
                                 plan->rows + plan->starts[g], rows,
                                 low + plan->starts[g] * low_stride + column * size, low_stride,
                                 w->b + o * w->blocks * PAIRS * 2 * LANES, w->blocks, count);
            }
            column += w->blocks * LANES;
        }
    }
}

// By a kernel that runs here. y [rows, y_stride], x [rows, x_stride] and `low` are float32, or bf16 where
// `in_float` is 0. `low` has room for low_stride numbers for each row of the plan; that is at least 16 ranks
// times the blocks of all slices of any adapter.
void chorus_lora_add(int kernel, int in_float, const Plan *plan, const Layer *layer, void *y, int64_t y_stride,
                     const void *x, int64_t x_stride, void *low, int64_t low_stride, double scale, int threads) {
    const Products *products = in_float ? &KERNELS[kernel].on_float : &KERNELS[kernel].on_bf16;
    const int64_t size = in_float ? sizeof(float) : sizeof(bf16);
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        int thread = 0, team = 1;
#ifdef _OPENMP
        thread = omp_get_thread_num(), team = omp_get_num_threads();
#endif
        shrink_all(products, size, plan, layer, x, x_stride * size, low, low_stride * size, (float)scale, thread,
                   team);
#pragma omp barrier
        expand_all(products, size, plan, layer, y, y_stride * size, low, low_stride * size, thread, team);
    }
}

// bf16 [lanes, depth], rows `stride` numbers apart, to [blocks][pairs][16 lanes][2], with zeros where there is
// nothing: blocks of 16 lanes, pairs of two consecutive numbers.
void chorus_lora_pack(bf16 *to, const bf16 *from, int64_t lanes, int64_t depth, int64_t stride, int64_t blocks,
                      int64_t pairs) {
    for (int64_t lane = 0; lane < blocks * LANES; lane++) {
        bf16 *out = to + (lane / LANES * pairs * LANES + lane % LANES) * 2;
        const int64_t most = lane < lanes ? depth : 0;
        const bf16 *row = from + lane * stride;
        int64_t k = 0;
        for (; k + 2 <= most; k += 2) __builtin_memcpy(out + k * LANES, row + k, 2 * sizeof *row);
        for (; k < 2 * pairs; k += 2) {
            out[k * LANES] = k < most ? row[k] : 0;
            out[k * LANES + 1] = 0;
        }
    }
}

// The name of a kernel, counted from 0, the best first; null after the last.
const char *chorus_lora_name(int kernel) {
    return kernel < (int)(sizeof KERNELS / sizeof *KERNELS) ? KERNELS[kernel].name : NULL;
}

// Whether this processor runs it.
int chorus_lora_runs(int kernel) { return KERNELS[kernel].runs(); }
