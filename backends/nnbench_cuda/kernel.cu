// Trains a network in one launch, which keeps parameters and moments on the chip from the first step to the last.
//
// The partition is that of plan.py, the messages are those of exchange.cuh. A step, chunk by chunk:
//
//   all blocks   multiply their inputs by their rows of the first matrix, and send the sums to the owners of the images
//   owners       add up, go on to the loss and back to the first layer's outputs, a warp for each image; send its record to all
//   all blocks   multiply inputs and derivatives to gradients: of their own rows, and of all later matrices, in which
//                every block does the same; with the last chunk of a batch they update these parameters
//
// Meanwhile the next chunk's inputs come, and the numbers of the examples of the one after it.
#include <exchange.cuh>

DEVICE float4 load4(const float *from) { return *reinterpret_cast<const float4 *>(from); }
DEVICE void store4(float *to, float4 value) { *reinterpret_cast<float4 *>(to) = value; }

DEVICE void add_product(float4 &sum, float factor, float4 value) {
    sum.x = fmaf(factor, value.x, sum.x);
    sum.y = fmaf(factor, value.y, sum.y);
    sum.z = fmaf(factor, value.z, sum.z);
    sum.w = fmaf(factor, value.w, sum.w);
}

DEVICE float dot(float4 a, float4 b) { return fmaf(a.x, b.x, fmaf(a.y, b.y, fmaf(a.z, b.z, a.w * b.w))); }

DEVICE float warp_sum(float value) {
    for (int distance = WARP / 2; distance; distance /= 2) value += __shfl_xor_sync(~0u, value, distance);
    return value;
}

DEVICE float warp_max(float value) {
    for (int distance = WARP / 2; distance; distance /= 2) value = fmaxf(value, __shfl_xor_sync(~0u, value, distance));
    return value;
}

DEVICE float sigmoid(float z) { return 1 / (1 + expf(-z)); }

DEVICE float activate(float z) { return ACTIVATION == RELU ? fmaxf(z, 0) : sigmoid(z); }

// The derivative of the activation, given its value.
DEVICE float slope(float value) { return ACTIVATION == RELU ? value > 0 : value * (1 - value); }

DEVICE void update(const Launch &launch, float2 rate, float gradient, float &parameter, float &first, float &second) {
    switch (OPTIMIZER) {
    case SGD: parameter -= rate.x * gradient; break;
    case ADAM:
        first = fmaf(launch.beta1, first, launch.gain1 * gradient);
        second = fmaf(launch.beta2, second, launch.gain2 * gradient * gradient);
        parameter -= rate.x * first / fmaf(sqrtf(second), rate.y, launch.epsilon);
        break;
    case ADAM_FRESH: parameter -= rate.x * gradient / (fabsf(gradient) + launch.epsilon); break;
    }
}

struct Block {
    const Launch &launch;
    float *shared;
    int rank, thread, warp, lane;

    DEVICE Block(const Launch &launch)
        : launch(launch), shared(shared_memory()), rank(blockIdx.x), thread(threadIdx.x), warp(threadIdx.x / WARP),
          lane(threadIdx.x % WARP) {}

    DEVICE float *parameters() const { return shared + PLAN_SHARED_PARAMETERS; }
    DEVICE float *first() const { return shared + PLAN_SHARED_FIRST; }
    DEVICE float *second() const { return shared + PLAN_SHARED_SECOND; }
    DEVICE float *gradients() const { return shared + PLAN_SHARED_GRADIENTS; }
    DEVICE float *drafts() const { return shared + PLAN_SHARED_DRAFTS; }
    DEVICE float *inputs(int slot) const { return shared + PLAN_SHARED_INPUTS + slot * CHUNK * ROWS; }
    DEVICE float *targets(int slot) const { return shared + PLAN_SHARED_TARGETS + slot * OWN * OUTPUTS; }
    DEVICE int *numbers(int slot) const { return reinterpret_cast<int *>(shared + PLAN_SHARED_NUMBERS) + slot * CHUNK; }

    // Where a parameter of this block lies in the memory of the device.
    DEVICE int outside(int place) const {
        return place + (place < FIRST_MATRIX ? rank : BLOCKS - 1) * FIRST_MATRIX;
    }

    DEVICE void fetch_parameters() {
        for (int place = 4 * thread; place < PARAMETERS; place += 4 * THREADS) {
            store4(parameters() + place, load4(launch.parameters + outside(place)));
            if (OPTIMIZER == ADAM) {
                store4(first() + place, load4(launch.first + outside(place)));
                store4(second() + place, load4(launch.second + outside(place)));
            }
        }
    }

    // The later matrices are alike in all blocks; the first block writes them.
    DEVICE void return_parameters() const {
        int count = rank ? FIRST_MATRIX : PARAMETERS;
        for (int place = 4 * thread; place < count; place += 4 * THREADS) {
            store4(launch.parameters + outside(place), load4(parameters() + place));
            if (OPTIMIZER == ADAM) {
                store4(launch.first + outside(place), load4(first() + place));
                store4(launch.second + outside(place), load4(second() + place));
            }
        }
    }

    // What nobody writes in a draft stays zero; the input of a bias is 1.
    DEVICE void begin_drafts() {
        for (int place = thread; place < OWN * RECORD; place += THREADS) drafts()[place] = 0;
        __syncthreads();
        if (BIAS)
            for (int layer = 1; layer < LAYERS; layer++)
                for (int own = thread; own < OWN; own += THREADS)
                    drafts()[own * RECORD + VALUES[layer] + SIZES[layer]] = 1;
    }

    DEVICE void fetch_numbers(const Chunk &chunk, int slot) {
        for (int image = thread; image < chunk.count; image += THREADS)
            copy_async<4>(numbers(slot) + image, launch.order + chunk.at + image);
    }

    // The inputs that this block's rows are for, and the targets of its own images.
    DEVICE void fetch_examples(const Chunk &chunk, int slot) {
        constexpr int INPUT_QUADS = ROWS / 4, TARGET_QUADS = OUTPUTS / 4;
        for (int quad = thread; quad < chunk.count * INPUT_QUADS; quad += THREADS) {
            int image = quad / INPUT_QUADS, place = quad % INPUT_QUADS * 4;
            copy_async<16>(inputs(slot) + image * ROWS + place, example(slot, image) + rank * ROWS + place);
        }
        for (int quad = thread; quad < owned(chunk, rank) * TARGET_QUADS; quad += THREADS) {
            int own = quad / TARGET_QUADS, place = quad % TARGET_QUADS * 4;
            copy_async<16>(targets(slot) + own * OUTPUTS + place,
                           example(slot, own * BLOCKS + rank) + BLOCKS * ROWS + place);
        }
    }

    DEVICE const float *example(int slot, int image) const {
        return launch.examples + static_cast<long long>(numbers(slot)[image]) * EXAMPLE;
    }

    // The sums of the first layer over this block's rows: four images and four units at a time.
    DEVICE void multiply(Exchange &exchange, const Chunk &chunk, int slot) const {
        constexpr int UNIT_QUADS = UNITS / 4;
        int tiles = (chunk.count + 3) / 4 * UNIT_QUADS;
        for (int tile = thread; tile < tiles; tile += THREADS) {
            int image = tile / UNIT_QUADS * 4, unit = tile % UNIT_QUADS * 4;
            const float *values = inputs(slot) + image * ROWS, *weights = parameters() + unit;
            float4 sums[4] = {};
            for (int row = 0; row < ROWS; row += 4) {
                float4 weight[4];
#pragma unroll
                for (int i = 0; i < 4; i++) weight[i] = load4(weights + (row + i) * UNITS);
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    float4 value = load4(values + i * ROWS + row);
                    add_product(sums[i], value.x, weight[0]);
                    add_product(sums[i], value.y, weight[1]);
                    add_product(sums[i], value.z, weight[2]);
                    add_product(sums[i], value.w, weight[3]);
                }
            }
#pragma unroll
            for (int i = 0; i < 4; i++)
                if (image + i < chunk.count) exchange.send_sums(image + i, unit, sums[i]);
        }
    }

    // An image of this block's own, by a warp: from the sums of the first layer to the loss, and back.
    DEVICE void finish(Exchange &exchange, const Chunk &chunk, int own, int slot) const {
        int image = own * BLOCKS + rank;
        float *draft = drafts() + own * RECORD;
        for (int unit = lane; unit < SIZES[1]; unit += WARP) {
            float z = 0;
            for (int block = 0; block < BLOCKS; block++) z += exchange.sums_of(block, own)[unit];
            put(draft, 0, unit, z);
        }
        __syncwarp();
        for (int layer = 1; layer < LAYERS; layer++) {
            const float *values = draft + VALUES[layer], *weights = parameters() + MATRICES[layer];
            for (int unit = lane; unit < SIZES[layer + 1]; unit += WARP) {
                float z = 0;
                for (int input = 0; input < SIZES[layer] + BIAS; input++)
                    z = fmaf(values[input], weights[input * WIDTHS[layer] + unit], z);
                put(draft, layer, unit, z);
            }
            __syncwarp();
        }
        judge(chunk, draft + DELTAS[LAYERS - 1], targets(slot) + own * OUTPUTS, chunk.at + image);
        __syncwarp();
        for (int layer = LAYERS - 1; layer; layer--) {
            const float *deltas = draft + DELTAS[layer], *weights = parameters() + MATRICES[layer];
            for (int input = lane; input < SIZES[layer]; input += WARP) {
                float sum = 0;
                for (int unit = 0; unit < WIDTHS[layer]; unit += 4)
                    sum += dot(load4(deltas + unit), load4(weights + input * WIDTHS[layer] + unit));
                draft[DELTAS[layer - 1] + input] = sum * slope(draft[VALUES[layer] + input]);
            }
            __syncwarp();
        }
        exchange.send_record(image, draft, lane);
    }

    // What comes out of a layer is the next one's input; of the last one it is a logit, which gives way to its derivative.
    DEVICE void put(float *draft, int layer, int unit, float z) const {
        if (layer == LAYERS - 1)
            draft[DELTAS[layer] + unit] = z;
        else
            draft[VALUES[layer + 1] + unit] = activate(z);
    }

    // The loss of an image, and the derivatives of the batch's mean by its logits, in their place. By a warp.
    DEVICE void judge(const Chunk &chunk, float *logits, const float *wanted, int at) const {
        constexpr int COUNT = SIZES[LAYERS];
        float loss = 0, batch = chunk.batch;
        if (launch.logits)
            for (int k = lane; k < COUNT; k += WARP) launch.logits[static_cast<long long>(at) * COUNT + k] = logits[k];
        switch (LOSS) {
        case CROSS_ENTROPY: {
            float largest = logits[0], total = 0;
            for (int k = lane; k < COUNT; k += WARP) largest = fmaxf(largest, logits[k]);
            largest = warp_max(largest);
            for (int k = lane; k < COUNT; k += WARP) total += expf(logits[k] - largest);
            total = warp_sum(total);
            float log_total = logf(total);
            for (int k = lane; k < COUNT; k += WARP) {
                float shifted = logits[k] - largest;
                if (wanted[k] != 0) loss += wanted[k] * (log_total - shifted);
                logits[k] = (expf(shifted) / total - wanted[k]) / batch;
            }
            break;
        }
        case SQUARED_ERROR:
            for (int k = lane; k < COUNT; k += WARP) {
                float y = sigmoid(logits[k]), error = y - wanted[k];
                loss += error * error / COUNT;
                logits[k] = 2 * error / (batch * COUNT) * y * (1 - y);
            }
        }
        loss = warp_sum(loss);
        if (lane == 0) launch.losses[at] = loss;
    }

    // The gradients, sixteen parameters at a time, and what becomes of them.
    DEVICE void differentiate(const Exchange &exchange, const Chunk &chunk, int slot) const {
        float squares = 0;
        float2 rate = launch.task == TRAIN ? launch.rates[chunk.step] : float2{};
        int tile = thread; // of a layer
        for (int layer = 0; layer < LAYERS; layer++) {
            int quads = WIDTHS[layer] / 4, tiles = HEIGHTS[layer] / 4 * quads;
            for (; tile < tiles; tile += THREADS) {
                int row = tile / quads * 4, column = tile % quads * 4;
                int place = MATRICES[layer] + row * WIDTHS[layer] + column;
                const float *left = layer ? exchange.records + VALUES[layer] + row : inputs(slot) + row;
                const float *right = exchange.records + DELTAS[layer] + column;
                int stride = layer ? RECORD : ROWS;
                float4 sums[4] = {};
                if (!chunk.begins) {
#pragma unroll
                    for (int i = 0; i < 4; i++) sums[i] = load4(gradients() + place + i * WIDTHS[layer]);
                }
#pragma unroll 4
                for (int image = 0; image < chunk.count; image++) {
                    float4 value = load4(left + image * stride), delta = load4(right + image * RECORD);
                    add_product(sums[0], value.x, delta);
                    add_product(sums[1], value.y, delta);
                    add_product(sums[2], value.z, delta);
                    add_product(sums[3], value.w, delta);
                }
                int weights = SIZES[layer] - row - (layer ? 0 : rank * ROWS); // rows from here on that are no bias
#pragma unroll
                for (int i = 0; i < 4; i++)
                    if (chunk.ends)
                        squares += apply(rate, place + i * WIDTHS[layer], sums[i], i < weights, layer);
                    else
                        store4(gradients() + place + i * WIDTHS[layer], sums[i]);
            }
            tile -= tiles;
        }
        if (launch.l2 != 0 && chunk.ends) {
            squares = warp_sum(squares);
            if (lane == 0) launch.squares[(chunk.step * BLOCKS + rank) * WARPS + warp] = squares;
        }
    }

    // Ends a step for four parameters, and returns the sum of their squares if they are weights that this block counts.
    DEVICE float apply(float2 rate, int place, float4 gradient, bool are_weights, int layer) const {
        float4 parameter = load4(parameters() + place);
        float squares = 0;
        if (launch.l2 != 0 && are_weights) {
            add_product(gradient, launch.l2, parameter);
            if (!layer || !rank) squares = dot(parameter, parameter);
        }
        if (launch.task == TRAIN) {
            float4 m{}, v{};
            if (OPTIMIZER == ADAM) m = load4(first() + place), v = load4(second() + place);
            update(launch, rate, gradient.x, parameter.x, m.x, v.x);
            update(launch, rate, gradient.y, parameter.y, m.y, v.y);
            update(launch, rate, gradient.z, parameter.z, m.z, v.z);
            update(launch, rate, gradient.w, parameter.w, m.w, v.w);
            store4(parameters() + place, parameter);
            if (OPTIMIZER == ADAM) store4(first() + place, m), store4(second() + place, v);
        } else if (launch.task == DIFFERENTIATE && (!layer || !rank)) {
            store4(launch.gradients + outside(place), gradient);
        }
        return squares;
    }
};

extern "C" __global__ void __launch_bounds__(THREADS, 1) run(const __grid_constant__ Launch launch) {
    Block block(launch);
    block.fetch_parameters();
    block.begin_drafts();
    Chunk now = chunk_at(launch, 0), next = chunk_at(launch, now.count);
    block.fetch_numbers(now, 0);
    block.fetch_numbers(next, 1);
    await_copies();
    __syncthreads();
    block.fetch_examples(now, 0);
    Exchange exchange(launch, block.shared, block.rank);

    for (int slot = 0; now.count > 0; slot ^= 1) {
        Chunk after = chunk_at(launch, next.at + next.count);
        int own = owned(now, block.rank);
        await_copies();
        __syncthreads(); // everyone's copies have come, and everyone is done with the chunk before
        block.fetch_examples(next, slot ^ 1);
        block.fetch_numbers(after, slot);
        if (block.thread == 0) exchange.expect_chunk(now.count, own);

        block.multiply(exchange, now, slot);
        exchange.await_sums(own);
        for (int image = block.warp; image < own; image += WARPS) block.finish(exchange, now, image, slot);
        exchange.await_records(now.count);
        block.differentiate(exchange, now, slot);
        now = next;
        next = after;
    }

    __syncthreads();
    if (launch.task == TRAIN) block.return_parameters();
    exchange.close();
}

// One step with the gradients that are kept; of any number of blocks.
extern "C" __global__ void step(const __grid_constant__ Launch launch) {
    constexpr int COUNT = PARAMETERS + (BLOCKS - 1) * FIRST_MATRIX;
    for (int place = blockIdx.x * THREADS + threadIdx.x; place < COUNT; place += gridDim.x * THREADS)
        update(launch, launch.rates[0], launch.gradients[place], launch.parameters[place], launch.first[place],
               launch.second[place]);
}
