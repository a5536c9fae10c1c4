// Every LoRA kernel that the processor runs, against products in double precision: random mixes of adapters, in
// bf16 and in float32. Prints a line for each kernel and kind of number; ends with 1 at the first wrong result.
//
// A program without Python, so that test_lora_build.py can run it for other processors, and under sanitizers.

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lora.c"

enum { SLOTS = 5, MIXES = 100, MOST_SLICES = 3, MOST_ROWS = 40, MOST_RANK = 40, GAP = 3 };

static uint64_t state = 1;

static int below(int bound) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (int)((state >> 33) % bound);
}

static double random_number(void) { return below(1 << 20) / (double)(1 << 19) - 1; }

static float widened(bf16 number) {
    const uint32_t raw = (uint32_t)number << 16;
    float wide;
    memcpy(&wide, &raw, sizeof wide);
    return wide;
}

// Without rounding: any bf16 is as good as another.
static bf16 narrowed(float number) {
    uint32_t raw;
    memcpy(&raw, &number, sizeof raw);
    return (bf16)(raw >> 16);
}

static void *room(int64_t bytes) {
    void *found = malloc(bytes ? bytes : 1);  // to the byte, so that a sanitizer sees what is read beyond
    if (!found) exit(2);
    return found;
}

static void set(void *numbers, int64_t at, int in_float, double number) {
    if (in_float) ((float *)numbers)[at] = (float)number;
    else ((bf16 *)numbers)[at] = narrowed((float)number);
}

static double get(const void *numbers, int64_t at, int in_float) {
    return in_float ? ((const float *)numbers)[at] : widened(((const bf16 *)numbers)[at]);
}

typedef struct {
    int rank;
    bf16 *a, *b, *packed_a, *packed_b;  // a [rank, inputs], b [width, rank]
} Adapter;

static bf16 *random_weights(int64_t count) {
    bf16 *weights = room(count * sizeof *weights);
    for (int64_t i = 0; i < count; i++) weights[i] = narrowed((float)random_number());
    return weights;
}

static Adapter adapter(int inputs, int width, int rank) {
    const int blocks = (rank + LANES - 1) / LANES;
    Adapter made = {rank, random_weights(rank * inputs), random_weights(width * rank), NULL, NULL};
    made.packed_a = room((int64_t)blocks * LANES * inputs * sizeof(bf16));
    made.packed_b = room((int64_t)blocks * LANES * width * sizeof(bf16));
    chorus_lora_pack(made.packed_a, made.a, rank, inputs, inputs, blocks, inputs / 2);
    chorus_lora_pack(made.packed_b, made.b, width, rank, rank, width / LANES, blocks * PAIRS);
    return made;
}

// A row's low-rank numbers in double precision, and the sums of their terms' sizes.
typedef struct {
    double sum[MOST_RANK], size[MOST_RANK];
} Low;

static Low shrunk(const Adapter *one, const void *x, int inputs, int in_float) {
    Low low = {{0}, {0}};
    for (int r = 0; r < one->rank; r++)
        for (int k = 0; k < inputs; k++) {
            const double term = widened(one->a[r * inputs + k]) * get(x, k, in_float);
            low.sum[r] += term, low.size[r] += fabs(term);
        }
    return low;
}

// One output in double precision, and how far from it a result may be: sums of so many terms in float32; the
// low-rank row and the output each rounded once. An error of an error is less than a hundredth of it.
static double expected(const Adapter *one, int out, const Low *low, int inputs, int in_float, double y, double scale,
                       double *error) {
    double sum = y, size = fabs(y);
    for (int r = 0; r < one->rank; r++) {
        const double weight = scale * widened(one->b[out * one->rank + r]);
        sum += weight * low->sum[r], size += fabs(weight) * low->size[r];
    }
    const double terms = inputs + 2 * one->rank + 3, rounding = in_float ? ldexp(1, -24) : ldexp(1, -8);
    *error = (terms * ldexp(1, -24) + 2 * rounding) * size * (1 + ldexp(1, -6));
    return sum;
}

// The outputs of one slice of one row; null where they are as they may be.
static int wrong_outputs(const Adapter *one, const void *x, const void *y, const void *before, int64_t at, int width,
                         int inputs, int in_float, double scale) {
    const int64_t size = in_float ? sizeof(float) : sizeof(bf16);
    if (!one || !one->rank) {
        const int changed = memcmp((char *)y + at * size, (char *)before + at * size, size * width) != 0;
        if (changed) printf("outputs from %d on: changed, and no adapter is there\n", (int)at);
        return changed;
    }
    const Low low = shrunk(one, x, inputs, in_float);
    for (int out = 0; out < width; out++) {
        double error;
        const double want = expected(one, out, &low, inputs, in_float, get(before, at + out, in_float), scale, &error);
        const double got = get(y, at + out, in_float);
        if (fabs(got - want) <= error) continue;
        printf("output %d: %.9g, not %.9g by %.2g\n", (int)at + out, got, want, error);
        return 1;
    }
    return 0;
}

// Whether one random mix comes out right.
static int right(int kernel, int in_float) {
    const int inputs = 2 * (1 + below(60)), slices = 1 + below(MOST_SLICES), count = 1 + below(MOST_ROWS);
    int64_t offsets[MOST_SLICES + 1] = {0};
    for (int s = 0; s < slices; s++) offsets[s + 1] = offsets[s] + LANES * (1 + below(40));
    const int outputs = (int)offsets[slices], x_stride = inputs + GAP, y_stride = outputs + GAP;
    Adapter adapters[SLOTS * MOST_SLICES];
    Weights weights[SLOTS * MOST_SLICES];
    int widest = 0;
    for (int slot = 0; slot < SLOTS; slot++) {
        int wide = 0;
        for (int s = 0; s < slices; s++) {
            const int rank = below(4) ? 1 + below(MOST_RANK) : 0, i = slot * slices + s;
            adapters[i] = adapter(inputs, (int)(offsets[s + 1] - offsets[s]), rank);
            weights[i] = (Weights){(rank + LANES - 1) / LANES, adapters[i].packed_a, adapters[i].packed_b};
            wide += (int)weights[i].blocks * LANES;
        }
        widest = wide > widest ? wide : widest;
    }
    const int64_t size = in_float ? sizeof(float) : sizeof(bf16);
    char *x = room(size * count * x_stride), *y = room(size * count * y_stride), *before = room(size * count * y_stride);
    for (int i = 0; i < count * x_stride; i++) set(x, i, in_float, random_number());
    for (int i = 0; i < count * y_stride; i++) set(y, i, in_float, random_number());
    memcpy(before, y, size * count * y_stride);
    // Rows of few slots, so that some groups are large.
    int slot_of[MOST_ROWS], used = 1 + below(SLOTS);
    for (int i = 0; i < count; i++) slot_of[i] = below(used + 1) - 1;
    int32_t slots[SLOTS], starts[SLOTS + 1] = {0}, rows[MOST_ROWS];
    int groups = 0, planned = 0;
    for (int slot = 0; slot < SLOTS; slot++) {
        for (int i = 0; i < count; i++)
            if (slot_of[i] == slot) rows[planned++] = i;
        if (planned > starts[groups]) slots[groups++] = slot, starts[groups] = planned;
    }
    void *low = room(size * planned * widest);
    const Plan plan = {groups, slots, starts, rows};
    const Layer layer = {inputs, slices, offsets, weights};
    const double scale = below(2) ? 1 : 0.5;
    chorus_lora_add(kernel, in_float, &plan, &layer, y, y_stride, x, x_stride, low, widest, scale, 1 + below(3));

    int wrong = 0;
    for (int row = 0; row < count; row++)
        for (int s = 0; s <= slices && !wrong; s++) {  // the last is the gap, which is nobody's
            const Adapter *one = slot_of[row] < 0 || s == slices ? NULL : &adapters[slot_of[row] * slices + s];
            const int width = s == slices ? GAP : (int)(offsets[s + 1] - offsets[s]);
            wrong = wrong_outputs(one, x + row * x_stride * size, y, before, row * y_stride + offsets[s], width, inputs,
                                  in_float, scale);
        }
    for (int i = 0; i < SLOTS * slices; i++)
        free(adapters[i].a), free(adapters[i].b), free(adapters[i].packed_a), free(adapters[i].packed_b);
    free(x), free(y), free(before), free(low);
    return !wrong;
}

int main(void) {
    for (int kernel = 0; chorus_lora_name(kernel); kernel++)
        for (int in_float = 0; in_float < 2 && chorus_lora_runs(kernel); in_float++) {
            for (int mix = 0; mix < MIXES; mix++)
                if (!right(kernel, in_float)) {
                    printf("%s, %s, mix %d: wrong\n", chorus_lora_name(kernel), in_float ? "float32" : "bf16", mix);
                    return 1;
                }
            printf("%s %s\n", chorus_lora_name(kernel), in_float ? "float32" : "bf16");
        }
    return 0;
}
