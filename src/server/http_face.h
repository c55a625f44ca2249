/* SPDX-License-Identifier: Apache-2.0 */
/* The HTTP face: keys, health, metrics and facts of a server, by plain HTTP. */
#ifndef SERVER_HTTP_FACE_H
#define SERVER_HTTP_FACE_H

#include "base/digest.h"
#include "core/conf.h"
#include "core/metrics.h"
#include "core/plan.h"
#include "core/recent.h"
#include "proto/kv.h"
#include "proto/obj.h"
#include "server/http.h"

/* What only the process knows; filled in a turn of the face's worker, which may lag a little. */
struct http_facts {
	uint64_t memory_resident, memory_max; /* bytes */
	uint64_t store_size, store_used;      /* bytes */
	uint64_t started_ms;                  /* wall clock */
	uint32_t process_id;
	bool read_only; /* a device failed */
};

struct http_face_options {
	struct worker *worker;
	struct kv *kv;
	struct obj *obj;  /* NULL: there are no objects */
	bool kv_is_local; /* every visit runs on this worker */
	const struct conf *conf;
	const struct plan *plan;
	const struct topology *topology;
	const struct metrics *metrics;
	const char *version;
	const char *hosts; /* names that Host may have, beside addresses and localhost: "a.b, c" */
	bool any_host;     /* it listens beyond this machine, and no names were said */
	void (*facts)(void *owner, struct http_facts *facts);
	/* The slow requests of a worker, or what the operator was told (-1). NULL: no such. */
	const struct recent *(*recent)(void *owner, int worker);
	void *owner;
};

enum { HTTP_FACE_DIGESTS = 32 }; /* objects that are written at a time */

/* Memory: its opener's. Thread: its worker's. Its exchanges' server has it as owner. */
struct http_face {
	struct http_face_options options;
	bool draining; /* set by its opener: /readyz says so */
	struct digest digests[HTTP_FACE_DIGESTS];
	uint32_t digests_used; /* bit by index */
};

/* NO_SPACE: no memory. */
enum status http_face_open(struct http_face *face, const struct http_face_options *options)
        __attribute__((warn_unused_result));
void http_face_close(struct http_face *face); /* after its server */

extern const struct http_handler http_face_handler;

#endif
