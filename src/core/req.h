/* SPDX-License-Identifier: Apache-2.0 */
/* A request: one asynchronous operation on its way down a stack of layers and back up. */
#ifndef CORE_REQ_H
#define CORE_REQ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/status.h"

/*
 * The same for every protocol: what to do travels beside it, as an immutable command.
 *
 * Memory: the submitter's. It must not touch the request from submit until its own done() runs.
 * Thread: `worker` is the only one that may touch it; worker_send() hands it to another.
 * Result: `status` and `result`, exactly once. A submit never fails: failure is a completion.
 */
enum req_state {
	REQ_IDLE,    /* the submitter's */
	REQ_RUNNING, /* some layer's */
	REQ_DONE,    /* in worker->completed */
};

struct req;
typedef void req_fn(struct req *req);

/* What a layer remembers of a request while lower layers have it. */
struct frame {
	req_fn *done;   /* runs when the layers below have completed; never from inside a submit */
	uint16_t size;  /* bytes of the layer's own struct, of which this is the first member */
	uint16_t below; /* offset of the frame under it */
};

enum { REQ_FRAMES_SIZE = 448 }; /* bytes; whether a stack fits is checked when it is opened */

struct req {
	STAILQ_ENTRY(req) link; /* in the one queue that holds it now */
	struct worker *worker;
	req_fn *arrive;       /* what the next worker does with it: worker_send() */
	uint64_t deadline_ns; /* on the worker's clock; 0: none */
	uint64_t result;      /* bytes, entries or version: each command says which */
	enum status status;
	bool canceled;      /* req_cancel(): ends at the next hop */
	uint8_t state;      /* enum req_state */
	uint16_t frame_top; /* offset of the newest frame */
	uint16_t frame_end; /* offset past it; 0: no frame */
	_Alignas(16) unsigned char frames[REQ_FRAMES_SIZE];
};
STAILQ_HEAD(req_list, req);

void req_init(struct req *req, struct worker *worker);

/*
 * Asks a running request to end early: best effort, the next checked submit completes it with
 * CANCELED. What a device already has is waited for, because it owns the memory.
 */
void req_cancel(struct req *req);

/* For the waists: the status with which a request must end instead of going on, or OK. */
enum status req_check(const struct req *req);

void req_complete(struct req *req, enum status status, uint64_t result);
void req_run_done(struct req *req); /* for the worker's loop only */

/* Pushes a `type` and returns it, uninitialised past its frame. done() must pop or keep it. */
#define req_push(req, type, done) ((type *)req_push_frame((req), sizeof(type), (done)))
#define req_pop(req, type) ((type *)req_pop_frame((req), sizeof(type))) /* until next push */
#define req_top(req, type) ((type *)req_top_frame((req), sizeof(type)))

void *req_push_frame(struct req *req, size_t size, req_fn *done);
void *req_pop_frame(struct req *req, size_t size);
void *req_top_frame(struct req *req, size_t size);

#endif
