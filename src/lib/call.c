/* SPDX-License-Identifier: Apache-2.0 */
/* Calls that block: each is a request, or a few, and a wait. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/macros.h"
#include "lib/lib.h"

enum {
	GET_GUESS = 4096,      /* bytes: most values fit the first try */
	SCAN_ROOM = 256 << 10, /* bytes of entries at a time: more than any one of them */
	SCAN_ENTRIES = 1024,
};

struct call {
	struct weir_request request;
};

static void call_done(struct weir_request *request)
{
	sem_post(request->context);
}

static void wait(sem_t *ended)
{
	while (sem_wait(ended) != 0)
		assert(errno == EINTR);
	sem_destroy(ended);
}

enum weir_status lib_call(struct weir *weir, struct weir_request *request)
{
	enum weir_status status;
	sem_t ended;
	int error;

	if (lib_on_worker())
		return WEIR_INVALID; /* it would wait for itself */
	error = sem_init(&ended, 0, 0);
	assert(error == 0);
	request->done = call_done;
	request->context = &ended;
	status = weir_submit(weir, request);
	if (status != WEIR_OK) {
		sem_destroy(&ended);
		return status;
	}
	wait(&ended);
	return request->status;
}

static enum weir_status run(struct weir *weir, struct call *call)
{
	return lib_call(weir, &call->request);
}

/* Only what a request needs is set: the rest of it is large. */
void lib_call_prepare(struct weir_request *request, enum weir_op op, struct weir_key key)
{
	memset(request, 0, offsetof(struct weir_request, internal));
	request->op = (uint32_t)op;
	request->key = key;
}

static void prepare(struct call *call, enum weir_op op, struct weir_key key)
{
	lib_call_prepare(&call->request, op, key);
}

enum weir_status weir_put(struct weir *weir, struct weir_key key, struct weir_bytes value)
{
	struct call call;

	prepare(&call, WEIR_PUT, key);
	call.request.value = value;
	return run(weir, &call);
}

static enum weir_status get_into(struct weir *weir, struct weir_key key, struct weir_value *value)
{
	struct call call;
	enum weir_status status;

	prepare(&call, WEIR_GET, key);
	call.request.out = value->data;
	call.request.out_max = value->size_max;
	status = run(weir, &call);
	value->size = call.request.out_size;
	value->version = call.request.version;
	return status;
}

enum weir_status weir_get(struct weir *weir, struct weir_key key, struct weir_value *value)
{
	size_t room = GET_GUESS;
	enum weir_status status;

	if (value->data != NULL)
		return get_into(weir, key, value);
	for (;;) {
		value->data = malloc(room);
		value->size_max = room;
		if (value->data == NULL)
			return WEIR_NO_SPACE;
		status = get_into(weir, key, value);
		if (status == WEIR_OK)
			return WEIR_OK;
		free(value->data);
		value->data = NULL;
		/* It may have grown again meanwhile: then once more. */
		if (status != WEIR_TOO_LARGE || value->size <= room)
			return status; /* or the engine has no memory for it */
		room = value->size;
	}
}

enum weir_status weir_delete(struct weir *weir, struct weir_key key, bool *was_there)
{
	struct call call;
	enum weir_status status;

	prepare(&call, WEIR_DELETE, key);
	status = run(weir, &call);
	if (was_there != NULL)
		*was_there = status == WEIR_OK && call.request.result != 0;
	return status;
}

enum weir_status weir_cas(struct weir *weir, struct weir_key key, struct weir_bytes value,
                          uint64_t *version)
{
	struct call call;
	enum weir_status status;

	prepare(&call, WEIR_PUT, key);
	call.request.flags = WEIR_IF_VERSION;
	call.request.version = *version;
	call.request.value = value;
	status = run(weir, &call);
	if (status == WEIR_OK || status == WEIR_CONFLICT)
		*version = call.request.result;
	return status;
}

static enum weir_status run_number(struct weir *weir, enum weir_op op, uint32_t space,
                                   uint64_t *number)
{
	struct call call;
	enum weir_status status;

	prepare(&call, op, (struct weir_key){ .space = space });
	status = run(weir, &call);
	*number = call.request.result;
	return status;
}

enum weir_status weir_count(struct weir *weir, uint32_t space, uint64_t *count)
{
	return run_number(weir, WEIR_COUNT, space, count);
}

enum weir_status weir_clear(struct weir *weir, uint32_t space)
{
	uint64_t removed;

	return run_number(weir, WEIR_CLEAR, space, &removed);
}

enum weir_status weir_commit(struct weir *weir, struct weir_batch *batch)
{
	struct call call;

	prepare(&call, WEIR_COMMIT, (struct weir_key){ .space = 0 });
	call.request.batch = batch;
	return run(weir, &call);
}

/* A scan, some entries at a time. */
struct scan {
	struct call call;
	struct weir *weir;
	const struct weir_range *range;
	weir_entry_fn *entry;
	void *context;
	uint64_t left; /* entries */
	size_t last_size;
	bool stopped; /* the user wants no more */
	uint8_t last[WEIR_KEY_MAX + 1];
};

/* An entry whose value a scan does not carry. */
static bool give_large(struct scan *s, struct weir_entry *entry)
{
	const struct weir_key key = { entry->key.data, entry->key.size, s->range->space };
	struct weir_value value = { .data = NULL };
	enum weir_status status = weir_get(s->weir, key, &value);
	bool more = true;

	if (status == WEIR_OK) {
		entry->value = (struct weir_bytes){ value.data, value.size };
		entry->version = value.version;
		more = s->entry(s->context, entry);
		free(value.data);
	} else if (status != WEIR_NOT_FOUND) { /* else: removed since */
		s->call.request.status = status;
		return false;
	}
	return more;
}

static void give_entries(struct scan *s)
{
	struct weir_entry entry;
	size_t position = 0;

	while (s->left > 0 && weir_scan_next(&s->call.request, &position, &entry)) {
		s->left--;
		memcpy(s->last, entry.key.data, entry.key.size);
		s->last_size = entry.key.size;
		if (entry.value.data == NULL && entry.value.size > 0)
			s->stopped = !give_large(s, &entry);
		else
			s->stopped = !s->entry(s->context, &entry);
		if (s->stopped)
			return;
	}
}

/* Where the next entries begin: behind the last key, or with `reverse` before it. */
static void go_on(struct scan *s)
{
	struct weir_request *request = &s->call.request;

	if (s->range->reverse) {
		request->end = (struct weir_bytes){ s->last, s->last_size };
		return;
	}
	/* The smallest key that is larger; where that would be too long there is nothing between.
	 */
	if (s->last_size < WEIR_KEY_MAX) {
		s->last[s->last_size++] = 0;
	} else {
		while (s->last_size > 0 && s->last[s->last_size - 1] == 0xff)
			s->last_size--;
		if (s->last_size == 0) {
			s->stopped = true;
			return;
		}
		s->last[s->last_size - 1]++;
	}
	request->key.data = s->last;
	request->key.size = s->last_size;
}

static enum weir_status scan_pages(struct scan *s)
{
	struct weir_request *request = &s->call.request;
	enum weir_status status = WEIR_OK;

	while (s->left > 0 && !s->stopped) {
		request->limit = s->left < SCAN_ENTRIES ? (uint32_t)s->left : SCAN_ENTRIES;
		status = run(s->weir, &s->call);
		if (status != WEIR_OK || request->result == 0)
			break;
		give_entries(s);
		status = request->status;
		if (!s->stopped)
			go_on(s);
	}
	return status;
}

enum weir_status weir_scan(struct weir *weir, const struct weir_range *range, weir_entry_fn *entry,
                           void *context)
{
	struct scan *s = malloc(sizeof(*s) + SCAN_ROOM);
	enum weir_status status;

	if (s == NULL)
		return WEIR_NO_SPACE;
	prepare(&s->call, WEIR_SCAN,
	        (struct weir_key){ range->from.data, range->from.size, range->space });
	s->call.request.end = range->end;
	s->call.request.flags =
	        (range->reverse ? WEIR_REVERSE : 0u) | (range->keys_only ? WEIR_KEYS_ONLY : 0u);
	s->call.request.out = s + 1;
	s->call.request.out_max = SCAN_ROOM;
	s->weir = weir;
	s->range = range;
	s->entry = entry;
	s->context = context;
	s->left = range->limit == 0 ? UINT64_MAX : range->limit;
	s->stopped = false;
	status = scan_pages(s);
	free(s);
	return status;
}

/*
 * A log is written in order: when a durable record is on disk, all that its engine was told before
 * is too. So each engine gets one, under a key that is its own.
 */
struct mark {
	struct lib_item item;
	struct weir_worker *worker;
	struct req req;
	uint8_t key[3];
	sem_t ended;
};

static void mark_done(struct req *req)
{
	struct mark *mark = container_of(req, struct mark, req);
	struct weir *weir = mark->worker->weir;

	req_pop(req, struct frame);
	sem_post(&mark->ended);
	lib_gate_leave(&weir->gate);
}

static void mark_begin(struct weir_worker *w, struct lib_item *item)
{
	struct mark *mark = container_of(item, struct mark, item);
	const struct kv_cmd cmd = { .op = KV_PUT, .key = bytes_of(mark->key, sizeof(mark->key)) };

	req_init(&mark->req, &w->host->worker);
	req_push(&mark->req, struct frame, mark_done);
	kv_submit(w->host->kv, &mark->req, &cmd);
}

/* Keys are spread by a hash: of so many some belong to each engine. */
static void mark_find_key(struct weir *weir, struct mark *mark)
{
	for (unsigned i = 0; i < UINT16_MAX; i++) {
		mark->key[0] = HOST_SPACE_MARKS;
		mark->key[1] = (uint8_t)(i >> 8);
		mark->key[2] = (uint8_t)i;
		if (lib_owner(weir, bytes_of(mark->key, sizeof(mark->key))) == mark->worker)
			return;
	}
}

enum weir_status weir_sync(struct weir *weir)
{
	enum weir_status status = WEIR_OK;

	if (lib_on_worker())
		return WEIR_INVALID;
	for (unsigned i = 0; i < weir->engine_count && status == WEIR_OK; i++) {
		struct mark mark = { .item = { .run = mark_begin }, .worker = weir->engines[i] };
		int error;

		status = lib_gate_enter(&weir->gate, weir->requests_max);
		if (status != WEIR_OK)
			return status;
		error = sem_init(&mark.ended, 0, 0);
		assert(error == 0);
		mark_find_key(weir, &mark);
		lib_post(mark.worker, &mark.item);
		wait(&mark.ended);
		status = lib_status(mark.req.status);
	}
	return status;
}
