/* Between jobs the threads sleep on a condition, so that they take no time from anything else.
   Within a job they wait by spinning: a step of a small network takes 20 microseconds, less than
   it takes to wake a thread. */
#include "pool.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

enum { SPINS = 2000 }; /* some 20 microseconds; then another process may need this CPU */

struct pool {
    int threads;
    pthread_t *handles;
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    unsigned jobs; /* how many there were; under the mutex, as are the next three */
    job *work;
    void *context;
    int stopping;
    atomic_int arrived; /* at the barrier */
    atomic_uint generation; /* of the barrier: how often all have come */
};

struct member {
    struct pool *pool;
    int thread;
};

static void pause_briefly(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Let numbers below 1.2e-38 count as zero from now on; returns the mode before. Adam's moments fade
   away to such numbers where a pixel is rarely set, and the processor takes many times as long
   over them. A step of 1e-33 at most is lost, which no weight would notice. */
static unsigned flush_subnormals(void) {
#if defined(__SSE2__)
    unsigned mode = __builtin_ia32_stmxcsr();
    __builtin_ia32_ldmxcsr(mode | 0x8040); /* flush to zero, denormals are zeros */
    return mode;
#else
    return 0;
#endif
}

static void restore_mode(unsigned mode) {
#if defined(__SSE2__)
    __builtin_ia32_ldmxcsr(mode);
#else
    (void)mode;
#endif
}

void pool_barrier(struct pool *pool) {
    unsigned generation = atomic_load_explicit(&pool->generation, memory_order_relaxed);
    if (atomic_fetch_add(&pool->arrived, 1) + 1 == pool->threads) {
        atomic_store_explicit(&pool->arrived, 0, memory_order_relaxed);
        atomic_store(&pool->generation, generation + 1);
        return;
    }
    for (int spins = 0; atomic_load(&pool->generation) == generation; spins++) {
        if (spins < SPINS)
            pause_briefly();
        else
            sched_yield();
    }
}

static void *serve(void *argument) {
    struct member member = *(struct member *)argument;
    struct pool *pool = member.pool;
    free(argument);
    flush_subnormals();
    for (unsigned done = 0;; done++) {
        pthread_mutex_lock(&pool->mutex);
        while (pool->jobs == done && !pool->stopping) pthread_cond_wait(&pool->wake, &pool->mutex);
        job *work = pool->work;
        void *context = pool->context;
        int stopping = pool->stopping;
        pthread_mutex_unlock(&pool->mutex);
        if (stopping) return NULL;
        work(context, member.thread);
        pool_barrier(pool);
    }
}

void pool_run(struct pool *pool, job *work, void *context) {
    if (pool->threads > 1) {
        pthread_mutex_lock(&pool->mutex);
        pool->work = work;
        pool->context = context;
        pool->jobs++;
        pthread_cond_broadcast(&pool->wake);
        pthread_mutex_unlock(&pool->mutex);
    }
    unsigned mode = flush_subnormals();
    work(context, 0);
    pool_barrier(pool);
    restore_mode(mode);
}

static int start_thread(struct pool *pool, int thread) {
    struct member *member = malloc(sizeof *member);
    if (!member) return 0;
    *member = (struct member){pool, thread};
    if (pthread_create(&pool->handles[thread], NULL, serve, member) == 0) return 1;
    free(member);
    return 0;
}

struct pool *pool_create(int threads) {
    struct pool *pool = calloc(1, sizeof *pool);
    if (!pool) return NULL;
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->wake, NULL);
    pool->handles = calloc((size_t)threads, sizeof *pool->handles);
    for (pool->threads = 1; pool->handles && pool->threads < threads; pool->threads++)
        if (!start_thread(pool, pool->threads)) break;
    if (pool->threads == threads && pool->handles) return pool;
    pool_free(pool);
    return NULL;
}

void pool_free(struct pool *pool) {
    if (!pool) return;
    pthread_mutex_lock(&pool->mutex);
    pool->stopping = 1;
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->mutex);
    for (int t = 1; t < pool->threads; t++) pthread_join(pool->handles[t], NULL);
    pthread_cond_destroy(&pool->wake);
    pthread_mutex_destroy(&pool->mutex);
    free(pool->handles);
    free(pool);
}
