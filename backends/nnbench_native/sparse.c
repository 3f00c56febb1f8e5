/* The first layer, whose inputs are mostly zero: four fifths of MNIST's pixels are.

   The inputs are taken a word of the masks at a time. Their rows of weights (or of gradients) then
   stay in the nearest cache while the examples pass by, each of which adds those rows whose
   inputs it has to its sums, which stay in registers (or adds its deltas to the rows). Once
   all examples have passed, the rows' gradients are complete and their update follows at once. */
#include "network.h"
#include "vec.h"

enum { CACHE_LINE = 64 };

/* Cut the inputs into ranges that cost the threads about the same: the products of an input in
   proportion to the examples that have it, and the update of its row. */
void divide_inputs(struct network *net, size_t batch) {
    const double update = 6; /* products that take as long as the update of a row */
    const struct data *data = net->data;
    size_t inputs = net->layers[0].inputs, i = 0;
    double each = (double)batch / (double)data->count, all = 0, passed = 0;
    for (size_t j = 0; j < inputs; j++) all += update + each * (double)data->frequency[j];
    for (int t = 0; t < net->threads; t++) {
        net->workers[t].begin = i;
        for (; i < inputs && passed * net->threads < all * (t + 1); i++)
            passed += update + each * (double)data->frequency[i];
        if (t == net->threads - 1) i = inputs;
        net->workers[t].end = i;
    }
}

/* The bits of a word's inputs that are the worker's. */
static uint64_t own_bits(const struct worker *w, size_t word) {
    uint64_t own = ~(uint64_t)0;
    if (w->begin > word * WORD) own &= ~(uint64_t)0 << (w->begin - word * WORD);
    if (w->end < (word + 1) * WORD) own &= ~(uint64_t)0 >> ((word + 1) * WORD - w->end);
    return own;
}

/* Copy the batch's masks word by word, as the kernels read them, and find where the values of the
   worker's inputs start. */
void gather(struct worker *w) {
    const size_t first = w->begin / WORD, rest = w->begin % WORD;
    for (size_t n = 0; n < w->batch; n++) {
        const struct example *from = example(w, n);
        const float *value = w->network->data->values + from->start;
        for (size_t i = 0; i < first; i++) value += __builtin_popcountll(from->mask[i]);
        if (rest) value += __builtin_popcountll(from->mask[first] << (WORD - rest));
        w->starts[n] = value;
        for (size_t i = first; i * WORD < w->end; i++)
            w->masks[i * w->batch + n] = from->mask[i] & own_bits(w, i);
    }
}

static void rewind_cursors(struct worker *w) {
    memcpy(w->cursors, w->starts, w->batch * sizeof *w->cursors);
}

/* Ask for memory, into the second cache: the nearest is full of what this step needs. */
static void fetch(const void *from, size_t bytes) {
    uintptr_t line = (uintptr_t)from / CACHE_LINE * CACHE_LINE, end = (uintptr_t)from + bytes;
    for (; line < end; line += CACHE_LINE) __builtin_prefetch((const void *)line, 0, 2);
}

/* Fetch what the next steps need, which may lie anywhere in memory: the records of the batch
   after the next, and for some examples of the next, whose records have come by now, the values.
   A thread reads about its share of these, since the inputs are divided by their frequency. */
static void fetch_ahead(const struct worker *w, struct range some) {
    const struct data *data = w->network->data;
    for (size_t n = some.begin; n < some.end; n++) {
        if (n + w->batch < w->left) fetch(example(w, n + 2 * w->batch), data->size);
        if (n >= w->left) continue;
        const struct example *next = example(w, n + w->batch);
        struct range own = own_share(w, next->count, 1);
        fetch(data->values + next->start + own.begin, (own.end - own.begin) * sizeof *data->values);
    }
}

/* Add the products of a word's inputs to the sums, in NV vectors from `column` on. */
INLINE void sum_columns(const size_t NV, struct worker *w, size_t word, size_t column) {
    const struct network *net = w->network;
    const size_t stride = net->layers[0].stride;
    const float *weights = net->parameter + net->layers[0].weight + word * WORD * stride + column;
    const uint64_t *masks = w->masks + word * w->batch;
    for (size_t n = 0; n < w->batch; n++) {
        uint64_t mask = masks[n];
        const float *x = w->cursors[n];
        float *sum = w->sums + n * stride + column;
        vec sums[MAX_VECTORS];
        for (size_t v = 0; v < NV; v++) sums[v] = load(sum + v * LANES);
        for (; mask; mask &= mask - 1, x++) {
            const float *row = weights + (size_t)__builtin_ctzll(mask) * stride;
            for (size_t v = 0; v < NV; v++) sums[v] += *x * load(row + v * LANES);
        }
        for (size_t v = 0; v < NV; v++) store(sum + v * LANES, sums[v]);
        w->cursors[n] = x;
    }
}

/* The gradients of the weights of a word's inputs, in NV vectors from `column` on, to w->rows. */
INLINE void gradient_columns(const size_t NV, struct worker *w, size_t word, size_t column) {
    const struct network *net = w->network;
    const size_t stride = net->layers[0].stride;
    const float *deltas = net->layers[0].delta + column;
    const uint64_t *masks = w->masks + word * w->batch;
    float *rows = w->rows;
    memset(rows, 0, WORD * NV * LANES * sizeof *rows);
    for (size_t n = 0; n < w->batch; n++) {
        uint64_t mask = masks[n];
        const float *x = w->cursors[n];
        vec delta[MAX_VECTORS];
        for (size_t v = 0; v < NV; v++) delta[v] = load(deltas + n * stride + v * LANES);
        for (; mask; mask &= mask - 1, x++) {
            const float value = *x;
            float *row = rows + (size_t)__builtin_ctzll(mask) * NV * LANES;
            for (size_t v = 0; v < NV; v++)
                store(row + v * LANES, load(row + v * LANES) + value * delta[v]);
        }
        w->cursors[n] = x;
    }
}

/* Call a kernel with the number of vectors as a constant, so that they stay in registers. */
#define WITH_CONSTANT(kernel, vectors, ...)    \
    switch (vectors) {                         \
    case 1: kernel(1, __VA_ARGS__); break;     \
    case 2: kernel(2, __VA_ARGS__); break;     \
    case 3: kernel(3, __VA_ARGS__); break;     \
    case 4: kernel(4, __VA_ARGS__); break;     \
    case 5: kernel(5, __VA_ARGS__); break;     \
    case 6: kernel(6, __VA_ARGS__); break;     \
    case 7: kernel(7, __VA_ARGS__); break;     \
    default: kernel(MAX_VECTORS, __VA_ARGS__); \
    }

enum { MAX_COLUMNS = MAX_VECTORS * LANES };

void sum_inputs(struct worker *w) {
    const struct layer *layer = &w->network->layers[0];
    memset(w->sums, 0, w->batch * layer->stride * sizeof *w->sums);
    for (size_t column = 0; column < layer->outputs; column += MAX_COLUMNS) {
        size_t vectors = (smaller(MAX_COLUMNS, layer->outputs - column) + LANES - 1) / LANES;
        rewind_cursors(w);
        for (size_t word = w->begin / WORD; word * WORD < w->end; word++)
            WITH_CONSTANT(sum_columns, vectors, w, word, column)
    }
}

/* The bits of a word's inputs whose rows may change. A row is at rest if its gradients are zero (no
   example has the input, and there is no L2) and so are its moments, if the optimizer has any. */
static uint64_t moving(struct worker *w, size_t word) {
    unsigned char *touched = w->network->touched + word * WORD;
    uint64_t set = 0, own = own_bits(w, word);
    if (w->network->l2 != 0) return own;
    for (size_t n = 0; n < w->batch; n++) set |= w->masks[word * w->batch + n];
    if (w->optimizer.kind != ADAM) return set;
    for (uint64_t rest = own; rest; rest &= rest - 1) {
        int i = __builtin_ctzll(rest);
        touched[i] |= set >> i & 1;
        set |= (uint64_t)touched[i] << i;
    }
    return set;
}

/* Finish the rows of gradients that `bits` tells, in runs as long as memory has them. */
static void finish_rows(struct worker *w, size_t word, size_t column, size_t width, uint64_t bits,
                        int fused) {
    const struct layer *layer = &w->network->layers[0];
    while (bits) {
        size_t row = (size_t)__builtin_ctzll(bits), count = 1;
        if (width == layer->stride)
            while (row + count < WORD && bits >> (row + count) & 1) count++;
        finish(w, layer->weight + (word * WORD + row) * layer->stride + column,
               w->rows + row * width, count * width, 1, fused);
        bits &= row + count < WORD ? ~(uint64_t)0 << (row + count) : 0;
    }
}

void input_gradients(struct worker *w, int fused) {
    const struct layer *layer = &w->network->layers[0];
    size_t first = w->begin / WORD, words = (w->end + WORD - 1) / WORD - first;
    for (size_t column = 0; column < layer->outputs; column += MAX_COLUMNS) {
        size_t vectors = (smaller(MAX_COLUMNS, layer->outputs - column) + LANES - 1) / LANES;
        rewind_cursors(w);
        for (size_t i = 0; i < words; i++) {
            size_t word = first + i;
            WITH_CONSTANT(gradient_columns, vectors, w, word, column)
            uint64_t bits = fused ? moving(w, word) : own_bits(w, word);
            finish_rows(w, word, column, vectors * LANES, bits, fused);
            if (fused && column == 0) fetch_ahead(w, share(w->batch, i, words, 1));
        }
    }
}
