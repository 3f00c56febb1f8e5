/* The first layer, whose inputs are mostly zero: four fifths of MNIST's pixels are.

   The inputs are taken a word of the masks at a time. For the sums, their rows of weights stay in
   the nearest cache while the examples pass by, each of which adds those rows whose inputs it has
   to its sums, which stay in registers. For the gradients the word's masks are turned round: they
   then tell for an input which examples have it, and its row of gradients stays in registers while
   these examples' deltas are added. The word's rows are then updated at once. */
#include "sparse.h"

#include "optimizer.h"
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

/* Transpose WORD x WORD bits (Warren, "Hacker's delight", 7-3): swap ever smaller blocks. */
INLINE void swap_blocks(uint64_t *rows, const int size, const uint64_t mask) {
    for (int i = 0; i < WORD; i += 2 * size)
        for (int j = i; j < i + size; j++) {
            uint64_t swapped = ((rows[j] >> size) ^ rows[j + size]) & mask;
            rows[j + size] ^= swapped;
            rows[j] ^= swapped << size;
        }
}

static void transpose(uint64_t *rows) {
    swap_blocks(rows, 32, 0x00000000ffffffff);
    swap_blocks(rows, 16, 0x0000ffff0000ffff);
    swap_blocks(rows, 8, 0x00ff00ff00ff00ff);
    swap_blocks(rows, 4, 0x0f0f0f0f0f0f0f0f);
    swap_blocks(rows, 2, 0x3333333333333333);
    swap_blocks(rows, 1, 0x5555555555555555);
}

/* Find which examples have the inputs of a word; returns the bits of those inputs that any has. */
static uint64_t turn_masks(struct worker *w, size_t word) {
    const uint64_t *masks = w->masks + word * w->batch;
    uint64_t set = 0;
    for (size_t n = 0; n < w->batch; n++) set |= masks[n];
    for (size_t first = 0; first < w->batch; first += WORD) {
        uint64_t *turned = w->turned + first;
        size_t count = smaller(WORD, w->batch - first);
        memcpy(turned, masks + first, count * sizeof *turned);
        memset(turned + count, 0, (WORD - count) * sizeof *turned);
        transpose(turned);
    }
    return set;
}

/* The gradients of the weights of a word's inputs, in NV vectors from `column` on, to w->rows. */
INLINE void gradient_columns(const size_t NV, struct worker *w, size_t column) {
    const size_t stride = w->network->layers[0].stride;
    const float *deltas = w->network->layers[0].delta + column;
    for (size_t i = 0; i < WORD; i++) {
        vec gradient[MAX_VECTORS];
        for (size_t v = 0; v < NV; v++) gradient[v] = (vec){0};
        for (size_t first = 0; first < w->batch; first += WORD)
            for (uint64_t mask = w->turned[first + i]; mask; mask &= mask - 1) {
                size_t n = first + (size_t)__builtin_ctzll(mask);
                const float x = *w->cursors[n]++, *delta = deltas + n * stride;
                for (size_t v = 0; v < NV; v++) gradient[v] += x * load(delta + v * LANES);
            }
        for (size_t v = 0; v < NV; v++) store(w->rows + (i * NV + v) * LANES, gradient[v]);
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

/* The bits of a word's inputs whose rows may change, given those that are set in the batch. Others
   are at rest: their gradients are zero, and so are their moments, if the optimizer has any. */
static uint64_t moving(struct worker *w, size_t word, uint64_t set) {
    uint64_t *touched = &w->network->touched[word]; /* the rows of a word may be of two threads */
    if (w->network->l2 != 0) return own_bits(w, word);
    if (!keeps_moments(&w->optimizer)) return set;
    uint64_t before = __atomic_load_n(touched, __ATOMIC_RELAXED);
    if (set & ~before) __atomic_fetch_or(touched, set, __ATOMIC_RELAXED);
    return (set | before) & own_bits(w, word);
}

/* Finish the rows of gradients whose bits are set, in runs as long as memory has them. */
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
            uint64_t set = turn_masks(w, word);
            WITH_CONSTANT(gradient_columns, vectors, w, column)
            uint64_t bits = fused ? moving(w, word, set) : own_bits(w, word);
            finish_rows(w, word, column, vectors * LANES, bits, fused);
            if (fused && column == 0) fetch_ahead(w, share(w->batch, i, words, 1));
        }
    }
}
