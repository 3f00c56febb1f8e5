/* The first layer, whose inputs are mostly zero: four fifths of MNIST's pixels are.

   The batch is turned round, so that one word tells for an input which of 64 examples have it.
   Input by input, its row of weights then stays in registers while it is added to these examples'
   sums, and the gradient of that row while these examples' deltas are added to it. An example's
   values lie in the order of its inputs, so a cursor for each example finds the next. */
#include "network.h"
#include "vec.h"

static size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

/* Cut the inputs into ranges that cost the threads about the same: the products of an input in
   proportion to the examples that have it, and the update of its row. */
void divide_inputs(struct network *net, size_t batch) {
    const double update = 6; /* products that take as long as the update of a row */
    const struct data *data = net->data;
    size_t inputs = net->layers[0].inputs;
    double each = (double)batch / (double)data->examples, all = 0, passed = 0;
    for (size_t i = 0; i < inputs; i++) all += update + each * (double)data->frequency[i];
    size_t i = 0;
    for (int t = 0; t < net->threads; t++) {
        net->workers[t].begin = i;
        for (; i < inputs && passed * net->threads < all * (t + 1); i += CHUNK)
            for (size_t j = i; j < smaller(i + CHUNK, inputs); j++)
                passed += update + each * (double)data->frequency[j];
        net->workers[t].end = i = t == net->threads - 1 ? inputs : smaller(i, inputs);
    }
}

/* Transpose 64 x 64 bits in place (Warren, "Hacker's delight", 7-3): swap ever smaller blocks. */
static void transpose(uint64_t rows[64]) {
    uint64_t mask = 0x00000000ffffffff;
    for (int size = 32; size; size >>= 1, mask ^= mask << size)
        for (int i = 0; i < 64; i = ((i | size) + 1) & ~size) {
            uint64_t swapped = ((rows[i] >> size) ^ rows[i | size]) & mask;
            rows[i | size] ^= swapped;
            rows[i] ^= swapped << size;
        }
}

/* Turn the batch's masks round, for the worker's inputs. */
void gather(struct worker *w) {
    const struct network *net = w->network;
    const struct data *data = net->data;
    for (size_t n = 0; n < w->batch; n++) {
        const uint64_t *mask = data->masks + (size_t)w->index[n] * data->words;
        const float *value = data->values + data->starts[w->index[n]];
        for (size_t i = 0; i < w->begin / 64; i++) value += __builtin_popcountll(mask[i]);
        if (w->begin % 64)
            value += __builtin_popcountll(mask[w->begin / 64] << (64 - w->begin % 64));
        w->starts[n] = value;
    }
    for (size_t first = 0; first < w->batch; first += GROUP) {
        uint64_t *masks = w->masks + first / GROUP * net->words * 64;
        size_t count = smaller(GROUP, w->batch - first);
        for (size_t i = w->begin / 64; i * 64 < w->end; i++) {
            uint64_t *rows = masks + i * 64;
            for (size_t n = 0; n < GROUP; n++)
                rows[n] = n < count
                              ? data->masks[(size_t)w->index[first + n] * data->words + i]
                              : 0;
            transpose(rows);
        }
    }
}

/* Ask for the worker's share of the examples of the next batch, which lie anywhere in memory. */
void fetch_ahead(struct worker *w, const int64_t *index, size_t count) {
    const struct data *data = w->network->data;
    struct range examples = share(count, w->thread, w->network->threads, 1);
    for (size_t n = examples.begin; n < examples.end; n++) {
        size_t row = (size_t)index[n];
        for (size_t i = 0; i < data->words; i += 8) __builtin_prefetch(data->masks + row * data->words + i);
        for (size_t i = data->starts[row]; i < data->starts[row + 1]; i += 16)
            __builtin_prefetch(data->values + i);
    }
}

static void rewind_cursors(struct worker *w, size_t first, size_t count) {
    memcpy(w->cursors + first, w->starts + first, count * sizeof *w->cursors);
}

/* `columns` of the sums of a group of examples; NV vectors hold them. */
INLINE void sum_columns(const size_t NV, struct worker *w, size_t first, size_t column,
                        size_t columns) {
    const struct network *net = w->network;
    const struct layer *layer = &net->layers[0];
    const uint64_t *masks = w->masks + first / GROUP * net->words * 64;
    const float *weights = net->parameter + layer->weight + column;
    float *sums = w->sums + first * layer->stride + column;
    const float **cursors = w->cursors + first;
    const size_t last = columns - (NV - 1) * LANES;
    for (size_t i = w->begin; i < w->end; i++) {
        uint64_t mask = masks[i];
        if (!mask) continue;
        const float *from = weights + i * layer->outputs;
        vec row[NV];
        for (size_t v = 0; v + 1 < NV; v++) row[v] = load(from + v * LANES);
        row[NV - 1] = load_part(from + (NV - 1) * LANES, last);
        for (; mask; mask &= mask - 1) {
            int n = __builtin_ctzll(mask);
            float x = *cursors[n]++;
            float *sum = sums + (size_t)n * layer->stride;
            for (size_t v = 0; v < NV; v++)
                store(sum + v * LANES, load(sum + v * LANES) + x * row[v]);
        }
    }
}

/* `columns` of the gradients of CHUNK rows of weights from `row` on, into w->rows. */
INLINE void gradient_columns(const size_t NV, struct worker *w, size_t row, size_t rows,
                             size_t column, size_t columns) {
    const struct network *net = w->network;
    const struct layer *layer = &net->layers[0];
    const float *deltas = layer->delta + column;
    for (size_t i = row; i < row + rows; i++) {
        vec gradient[NV];
        for (size_t v = 0; v < NV; v++) gradient[v] = (vec){0};
        for (size_t first = 0; first < w->batch; first += GROUP) {
            const float *group = deltas + first * layer->stride;
            const float **cursors = w->cursors + first;
            for (uint64_t mask = w->masks[first / GROUP * net->words * 64 + i]; mask;
                 mask &= mask - 1) {
                int n = __builtin_ctzll(mask);
                float x = *cursors[n]++;
                const float *delta = group + (size_t)n * layer->stride;
                for (size_t v = 0; v < NV; v++) gradient[v] += x * load(delta + v * LANES);
            }
        }
        /* a row's last vector may reach into the next row, which is written later */
        for (size_t v = 0; v < NV; v++)
            store(w->rows + (i - row) * columns + v * LANES, gradient[v]);
    }
}

/* Call a kernel with the number of vectors as a constant, so that they stay in registers. */
#define WITH_CONSTANT(kernel, vectors, ...)       \
    switch (vectors) {                            \
    case 1: kernel(1, __VA_ARGS__); break;        \
    case 2: kernel(2, __VA_ARGS__); break;        \
    case 3: kernel(3, __VA_ARGS__); break;        \
    case 4: kernel(4, __VA_ARGS__); break;        \
    case 5: kernel(5, __VA_ARGS__); break;        \
    case 6: kernel(6, __VA_ARGS__); break;        \
    case 7: kernel(7, __VA_ARGS__); break;        \
    default: kernel(MAX_VECTORS, __VA_ARGS__);    \
    }

enum { MAX_COLUMNS = MAX_VECTORS * LANES };

void sum_inputs(struct worker *w) {
    const struct network *net = w->network;
    const struct layer *layer = &net->layers[0];
    memset(w->sums, 0, w->batch * layer->stride * sizeof *w->sums);
    for (size_t first = 0; first < w->batch; first += GROUP)
        for (size_t column = 0; column < layer->outputs; column += MAX_COLUMNS) {
            size_t columns = smaller(MAX_COLUMNS, layer->outputs - column);
            rewind_cursors(w, first, smaller(GROUP, w->batch - first));
            WITH_CONSTANT(sum_columns, (columns + LANES - 1) / LANES, w, first, column, columns)
        }
}

/* Whether any example of the batch has one of these inputs. */
static int any(const struct worker *w, size_t row, size_t rows) {
    const struct network *net = w->network;
    uint64_t found = 0;
    for (size_t first = 0; first < w->batch; first += GROUP)
        for (size_t i = row; i < row + rows; i++)
            found |= w->masks[first / GROUP * net->words * 64 + i];
    return found != 0;
}

/* Whether these rows' update would change nothing: their gradients and their moments are zero.
   The optimizers without moments need no record of what was touched. */
static int at_rest(struct worker *w, size_t row, size_t rows) {
    struct network *net = w->network;
    unsigned char *touched = &net->touched[row / CHUNK];
    int set = any(w, row, rows);
    if (set && w->optimizer.kind == ADAM) *touched = 1;
    return !set && !*touched && net->l2 == 0;
}

void input_gradients(struct worker *w, int fused) {
    struct network *net = w->network;
    const struct layer *layer = &net->layers[0];
    for (size_t column = 0; column < layer->outputs; column += MAX_COLUMNS) {
        size_t columns = smaller(MAX_COLUMNS, layer->outputs - column);
        rewind_cursors(w, 0, w->batch);
        for (size_t row = w->begin; row < w->end; row += CHUNK) {
            size_t rows = smaller(CHUNK, w->end - row);
            if (fused && at_rest(w, row, rows)) continue;
            WITH_CONSTANT(gradient_columns, (columns + LANES - 1) / LANES, w, row, rows, column,
                          columns)
            size_t offset = layer->weight + row * layer->outputs + column;
            if (columns == layer->outputs)
                finish(w, offset, w->rows, rows * columns, 1, fused);
            else
                for (size_t i = 0; i < rows; i++)
                    finish(w, offset + i * layer->outputs, w->rows + i * columns, columns, 1, fused);
        }
    }
}
