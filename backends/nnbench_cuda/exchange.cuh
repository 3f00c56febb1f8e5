// What blocks send to one another: to the owner of an image the sums of its first layer, from the owner to all its record.
//
// In a cluster a message is a store into the other block's shared memory, and a barrier there counts its bytes. Otherwise it is a
// store into the device's memory, and all blocks meet before it is read.
//
// Each chunk has two rounds, and no buffer is ever written while it is read:
// - A block sends sums of a chunk when it has all records of the one before, and an owner sends the record of an image
//   when it has read its sums. So sums find their place read.
// - An owner sends records when it has the sums of all blocks, and a block sends these when all its threads are done with the chunk
//   before (they meet in between). So records find their place read.
// - For the same reasons no message comes before the phase of its barrier has begun, which is when the one before is over. An owner
//   without an image in a chunk has no phase of sums in it.
#pragma once

#include <plan.cuh>

struct Exchange {
    float *sums, *records;
    int rank;

    DEVICE float *sums_of(int block, int own) const { return sums + (block * OWN + own) * UNITS; }
    DEVICE const float *record_of(int image) const { return records + image * RECORD; }

#if PLAN_CLUSTERS

    Barrier *barriers;
    unsigned sums_parity = 0, records_parity = 0;

    DEVICE Exchange(const Launch &, float *shared, int rank)
        : sums(shared + PLAN_SHARED_SUMS), records(shared + PLAN_SHARED_RECORDS), rank(rank),
          barriers(reinterpret_cast<Barrier *>(shared + PLAN_SHARED_BARRIERS)) {
        if (threadIdx.x == 0) {
            begin(&barriers[0]);
            begin(&barriers[1]);
            publish();
        }
        meet();
    }

    // By one thread of the block, which has waited for what came before.
    DEVICE void expect_chunk(int count, int own) {
        if (own) expect(&barriers[0], own * BLOCKS * UNITS * sizeof(float));
        expect(&barriers[1], count * RECORD * sizeof(float));
    }

    DEVICE void send_sums(int image, int unit, float4 value) {
        send(image % BLOCKS, sums_of(rank, image / BLOCKS) + unit, value, &barriers[0]);
    }

    DEVICE void await_sums(int own) {
        if (!own) return;
        await(&barriers[0], sums_parity);
        sums_parity ^= 1;
    }

    // By all lanes of a warp.
    DEVICE void send_record(int image, const float *draft, int lane) {
        for (int turn = 0; turn < BLOCKS; turn++)
            for (int place = 4 * lane; place < RECORD; place += 4 * WARP)
                send((rank + turn) % BLOCKS, records + image * RECORD + place,
                     *reinterpret_cast<const float4 *>(draft + place), &barriers[1]);
    }

    DEVICE void await_records(int) {
        await(&barriers[1], records_parity);
        records_parity ^= 1;
    }

    // No block leaves while another one may still send to it.
    DEVICE void close() { meet(); }

#else

    float *mailed_sums, *mailed_records;
    unsigned *arrivals, meetings = 0;

    DEVICE Exchange(const Launch &launch, float *shared, int rank)
        : sums(shared + PLAN_SHARED_SUMS), records(shared + PLAN_SHARED_RECORDS), rank(rank), mailed_sums(launch.mail),
          mailed_records(launch.mail + BLOCKS * BLOCKS * OWN * UNITS), arrivals(launch.arrivals) {}

    DEVICE void expect_chunk(int, int) {}

    DEVICE void send_sums(int image, int unit, float4 value) {
        int place = ((image % BLOCKS * BLOCKS + rank) * OWN + image / BLOCKS) * UNITS + unit;
        write_through(mailed_sums + place, value);
    }

    DEVICE void await_sums(int) {
        meet();
        fetch(sums, mailed_sums + rank * BLOCKS * OWN * UNITS, BLOCKS * OWN * UNITS);
    }

    DEVICE void send_record(int image, const float *draft, int lane) {
        for (int place = 4 * lane; place < RECORD; place += 4 * WARP)
            write_through(mailed_records + image * RECORD + place, *reinterpret_cast<const float4 *>(draft + place));
    }

    DEVICE void await_records(int count) {
        meet();
        fetch(records, mailed_records, count * RECORD);
    }

    DEVICE void close() {}

    // All blocks run at the same time, as a cooperative launch grants.
    DEVICE void meet() {
        __syncthreads();
        meetings++;
        if (threadIdx.x == 0) arrive_and_wait(arrivals, meetings * BLOCKS);
        __syncthreads();
    }

    DEVICE void fetch(float *to, const float *from, int count) {
        for (int place = 4 * threadIdx.x; place < count; place += 4 * THREADS)
            *reinterpret_cast<float4 *>(to + place) = read_through(from + place);
        __syncthreads();
    }

#endif
};
