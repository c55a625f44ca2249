/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the library share. */
#ifndef LIB_LIB_H
#define LIB_LIB_H

#include <semaphore.h>
#include <stdatomic.h>

#include "core/topology.h"
#include "host/host.h"
#include "proto/kv.h"
#include "weir.h"

enum { LIB_KEY_SIZE = 1 + WEIR_KEY_MAX };

struct lib_item;
struct weir_worker;
typedef void lib_run_fn(struct weir_worker *w, struct lib_item *item);

/* Something that a thread leaves for a worker. Memory: what it is part of. */
struct lib_item {
	struct lib_item *next;
	lib_run_fn *run;
};

/*
 * The library's face on one worker. Items from other threads are pushed on `mail`, a stack, and
 * taken all at once; `first` has them in order. What there is at most: requests_max.
 */
struct weir_worker {
	struct actor actor;
	struct weir *weir;
	struct host_worker *host;
	struct lib_item *first;
	bool closed;
	_Alignas(CACHE_LINE) _Atomic(struct lib_item *) mail;
};

/* Things that are under way, and a wait for their end. */
struct lib_gate {
	atomic_uint count; /* and one more as long as it is open */
	atomic_bool closed;
	sem_t empty;
};

struct weir {
	struct host host;
	struct conf conf;
	struct topology topology;
	struct lib_gate gate;
	unsigned requests_max;
	_Atomic uint64_t id_next;
	struct weir_worker *workers[PLAN_WORKERS_MAX];
	struct weir_worker *engines[PLAN_WORKERS_MAX]; /* by engine */
	struct weir_worker *apps[PLAN_WORKERS_MAX];    /* for applications */
	unsigned engine_count, app_count;
};

/* What a weir_request keeps in `internal`. */
struct lib_request {
	struct lib_item item;
	struct weir_request *request;
	struct weir_worker *worker; /* runs it; its req is always back there when it completes */
	struct kv_commit commit;
	struct req req;
	uint64_t handle;     /* of a blob of its own that is not published yet; 0: none */
	enum status failure; /* of a PUT whose blob is being dropped */
	uint32_t taken;      /* SCAN: entries that fitted out */
	bool full;           /* SCAN: one did not fit */
	atomic_bool canceled;
	uint16_t key_size, end_size;
	uint8_t key[LIB_KEY_SIZE];
	uint8_t end[LIB_KEY_SIZE];
};
_Static_assert(sizeof(struct lib_request) <= sizeof(((struct weir_request *)0)->internal),
               "the public struct has room for it");

enum { LIB_READ_MAX = 1 << 30 }; /* bytes of a READ: more than a value has */

static inline struct lib_request *lib_request(struct weir_request *request)
{
	return (struct lib_request *)(void *)request->internal;
}

void lib_gate_init(struct lib_gate *gate);
/* WEIR_OK: in. Else CLOSED; BUSY: max are in. */
enum weir_status lib_gate_enter(struct lib_gate *gate, unsigned max);
void lib_gate_leave(struct lib_gate *gate);
void lib_gate_close(struct lib_gate *gate); /* blocks until all have left; once */

/* Hands an item to a worker, from any thread. */
void lib_post(struct weir_worker *w, struct lib_item *item);

/* Whether the calling thread runs a worker of some store. */
bool lib_on_worker(void);

enum weir_status lib_status(enum status status);

/* The space byte and the key, in `out` of LIB_KEY_SIZE bytes; the size of both. */
uint16_t lib_key(uint8_t *out, uint32_t space, struct weir_bytes key);
bool lib_key_is_valid(struct weir_key key);

/* The worker whose engine has a key. */
struct weir_worker *lib_owner(struct weir *weir, struct bytes key);

/* Sends a request that lib_request_prepare() has made ready to its worker. */
enum weir_status lib_request_prepare(struct weir *weir, struct weir_request *request);
void lib_request_begin(struct weir_worker *w, struct weir_request *request);

/* A request of lib_call(): all but what is internal is zero. */
void lib_call_prepare(struct weir_request *request, enum weir_op op, struct weir_key key);
/* Submits and waits. */
enum weir_status lib_call(struct weir *weir, struct weir_request *request);

struct kv_commit lib_batch_commit(const struct weir_batch *batch);

extern const struct face lib_face;

#endif
