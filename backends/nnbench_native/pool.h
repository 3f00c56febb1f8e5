/* A pool of threads that run one job together, and a barrier inside a job. */
#pragma once

typedef void job(void *context, int thread);
struct pool;

struct pool *pool_create(int threads); /* NULL if the system gives no more threads */
void pool_free(struct pool *pool);

/* Call work(context, t) for every thread t, the caller being thread 0; wait for all of them. */
void pool_run(struct pool *pool, job *work, void *context);

/* Wait, within a job, until every thread of the pool has come here. */
void pool_barrier(struct pool *pool);
