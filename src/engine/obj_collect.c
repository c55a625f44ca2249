/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is to be removed and is too much for the change that decided so: extents of large objects,
 * parts of uploads, and what a put that a crash ended has left. The trash has a record of each; one
 * engine of the store goes through it, now and then, and removes a record when all is gone that it
 * is about. So nothing is lost by a crash, and everything may be done twice.
 *
 * Readers of such objects find extents as they go. They say so before they look at the name for the
 * last time; whoever is about to remove asks every engine after the name was changed. So one of the
 * two sees the other.
 */
#include <stdlib.h>

#include "base/assert.h"
#include "base/macros.h"
#include "engine/obj_state.h"

enum {
	LOOK = 64,   /* records of the trash at a time */
	KEYS = 64,   /* keys removed in one change */
	PARTS = 8,   /* parts */
	KEY_MAX = 32 /* bytes of the short keys here */
};
_Static_assert(KEYS + 2 <= OBJ_CHANGE_WRITES && 3 * PARTS + 2 <= OBJ_CHANGE_WRITES, "a change");
_Static_assert((KEYS + 2) * KEY_MAX <= OBJ_CHANGE_KEYS, "and its keys");

struct short_key {
	uint8_t size;
	uint8_t data[KEY_MAX];
};

struct obj_collector {
	struct obj_engine *engine;
	struct obj_call call; /* of its own; its parent is NULL */
	struct timer timer;
	struct req *starting;
	uint64_t floor; /* numbers below it were given out before the store was opened */
	bool running, stopping;
	/* The look through the trash. */
	struct short_key from, end;
	uint32_t seen;
	/* What was found, and is worked on. */
	bool found, is_read;
	struct short_key key;
	uint64_t version;
	unsigned partition;
	struct obj_trash trash;
	unsigned asked;
	struct req ask;
	/* What of it is removed next. */
	uint32_t count;
	uint32_t last_part;
	uint32_t manifest; /* the next that is read */
	struct short_key keys[KEYS];
	struct obj_record parts[PARTS];
	uint64_t part_versions[PARTS];
	uint64_t named[OBJ_PARTS_MAX / 64 + 1]; /* bit by part: the manifest names it */
};

static void look(struct obj_collector *c);
static void work_on(struct obj_collector *c);

static struct obj_collector *collector_of(const struct obj_call *call)
{
	return call->engine->collector;
}

static struct bytes short_bytes(const struct short_key *key)
{
	return bytes_of(key->data, key->size);
}

static void short_set(struct short_key *to, struct bytes key)
{
	assert(key.size <= KEY_MAX);
	to->size = (uint8_t)key.size;
	memcpy(to->data, key.data, key.size);
}

static void fire(struct timer *timer);

static void pause_until_next(struct obj_collector *c)
{
	struct worker *worker = c->engine->worker;

	c->running = false;
	if (!c->stopping)
		timer_arm(&worker->timers, &c->timer,
		          worker->now_ns + c->engine->options.collect_wait_ns, fire);
}

/* The call has nothing under way: its buffers are given back, and the next look waits. */
void obj_collector_call_done(struct obj_call *call, enum status status, uint64_t result)
{
	struct obj_collector *c = collector_of(call);
	struct req *starting = c->starting;

	(void)result;
	c->starting = NULL;
	if (starting != NULL)
		req_complete(starting, status, 0);
	if (starting != NULL && status != STATUS_OK)
		c->stopping = true;
	pause_until_next(c);
}

/* The trash, from c->from on: the first record that is due. */

static void trash_visit(void *visitor, const struct kv_entry *entry, struct kv_edit *edit)
{
	struct obj_collector *c = visitor;
	struct obj_trash trash;

	(void)edit;
	c->seen++;
	if (c->found || entry->key.size >= KEY_MAX)
		return;
	short_set(&c->from, entry->key);
	c->from.data[c->from.size++] = 0;
	if (obj_trash_decode(entry->value, &trash) != STATUS_OK)
		return; /* left for who looks at damage */
	if (trash.kind == OBJ_TRASH_INTENT && trash.id >> 16 >= c->floor)
		return; /* its writer may still be at work */
	c->found = true;
	c->trash = trash;
	c->version = entry->version;
	c->partition = (unsigned)entry->key.data[1] << 8 | entry->key.data[2];
	short_set(&c->key, entry->key);
}

static void go_on(struct obj_collector *c)
{
	if (c->stopping)
		obj_call_finish(&c->call, STATUS_OK, 0);
	else
		look(c);
}

/* Does any engine read it? The request goes from one to the next, and home. */

static void ask_arrived(struct req *req);

static void ask_next(struct obj_collector *c)
{
	struct obj_engine *engine = c->engine;

	if (c->asked < engine->peer_count)
		worker_send(engine->peers[c->asked]->worker, &c->ask, ask_arrived);
}

static void ask_returned(struct req *req)
{
	struct obj_collector *c = container_of(req, struct obj_collector, ask);

	if (!c->is_read) {
		work_on(c);
		return;
	}
	c->engine->stats.postponed++;
	go_on(c);
}

static void ask_arrived(struct req *req)
{
	struct obj_collector *c = container_of(req, struct obj_collector, ask);
	uint8_t data = c->trash.kind == OBJ_TRASH_UPLOAD ? OBJ_DATA_PARTS : OBJ_DATA_EXTENTS;

	c->is_read = c->is_read || obj_is_read(c->engine->peers[c->asked], data, c->trash.id);
	c->asked++;
	if (c->asked < c->engine->peer_count)
		ask_next(c);
	else
		worker_send(c->engine->worker, req, ask_returned);
}

static void looked(struct obj_call *call)
{
	struct obj_collector *c = collector_of(call);

	if (obj_call_failed(call))
		return;
	if (!c->found && c->seen < LOOK) {
		obj_call_finish(call, STATUS_OK, 0);
		return;
	}
	if (!c->found) {
		go_on(c);
		return;
	}
	c->is_read = false;
	c->asked = 0;
	c->last_part = 0;
	c->manifest = 0;
	memset(c->named, 0, sizeof(c->named));
	req_init(&c->ask, c->engine->worker);
	ask_next(c);
}

static void look(struct obj_collector *c)
{
	struct kv_cmd cmd = {
		.op = KV_SCAN,
		.key = short_bytes(&c->from),
		.end = short_bytes(&c->end),
		.limit = LOOK,
		.visit = trash_visit,
		.visitor = c,
	};

	c->found = false;
	c->seen = 0;
	obj_call_kv(&c->call, &cmd, looked);
}

static void fire(struct timer *timer)
{
	struct obj_collector *c = container_of(timer, struct obj_collector, timer);
	uint8_t space = OBJ_SPACE_TRASH;

	c->running = true;
	short_set(&c->from, bytes_of(&space, 1));
	space++;
	short_set(&c->end, bytes_of(&space, 1));
	look(c);
}

/* Keys that begin with `head`, KEYS at a time; with the last of them the record of the trash. */

static void key_visit(void *visitor, const struct kv_entry *entry, struct kv_edit *edit)
{
	struct obj_collector *c = visitor;

	(void)edit;
	if (c->count < KEYS && entry->key.size <= KEY_MAX)
		short_set(&c->keys[c->count++], entry->key);
}

static void removed(struct obj_call *call)
{
	struct obj_collector *c = collector_of(call);

	if (obj_call_failed(call))
		return;
	if (c->count == KEYS) {
		work_on(c);
		return;
	}
	c->engine->stats.collected++;
	go_on(c);
}

/* A change that lost: the trash says something else by now, and is found again later. */
static void lost(struct obj_call *call)
{
	call->tries = 0;
	go_on(collector_of(call));
}

static void keys_found(struct obj_call *call)
{
	struct obj_collector *c = collector_of(call);
	struct obj_key key;

	if (obj_call_failed(call) || !obj_change_begin(call))
		return;
	for (uint32_t i = 0; i < c->count; i++) {
		key.size = 0;
		obj_key_add(&key, short_bytes(&c->keys[i]));
		obj_change_delete(call, &key, OBJ_ANY);
	}
	if (c->count < KEYS) {
		key.size = 0;
		obj_key_add(&key, short_bytes(&c->key));
		obj_change_delete(call, &key, c->version);
	}
	obj_change_submit(call, removed);
}

static void remove_keys(struct obj_collector *c, enum obj_space space, unsigned partition)
{
	struct kv_cmd cmd = {
		.op = KV_SCAN,
		.flags = KV_SCAN_PARTITION | KV_KEYS_ONLY,
		.partition = (uint16_t)partition,
		.limit = KEYS,
		.visit = key_visit,
		.visitor = c,
	};
	struct obj_key end;

	obj_key_begin(&c->call.key, space, partition, c->trash.id);
	end = c->call.key;
	obj_key_skip(&end);
	if (!obj_call_work(&c->call, &c->call.made_buf, KEY_MAX))
		return;
	memcpy(c->call.made_buf->data, end.data, end.size);
	cmd.key = obj_key_bytes(&c->call.key);
	cmd.end = bytes_of(c->call.made_buf->data, end.size);
	c->count = 0;
	obj_call_kv(&c->call, &cmd, keys_found);
}

/* Parts of an upload: all, or those that are not named. */

static void part_visit(void *visitor, const struct kv_entry *entry, struct kv_edit *edit)
{
	struct obj_collector *c = visitor;
	const uint8_t *number = entry->key.data + entry->key.size - 2;
	struct obj_record part;

	(void)edit;
	c->seen++;
	c->last_part = (uint32_t)(number[0] << 8 | number[1]);
	if (c->last_part > OBJ_PARTS_MAX || obj_record_decode(entry->value, &part) != STATUS_OK)
		return;
	if (part.version != c->last_part ||
	    (c->named[c->last_part / 64] & 1ull << c->last_part % 64))
		return;
	assert(c->count < PARTS);
	c->part_versions[c->count] = entry->version;
	c->parts[c->count++] = part; /* but for its bytes, which die with the visit */
}

static void parts_removed(struct obj_call *call)
{
	if (!obj_call_failed(call))
		work_on(collector_of(call));
}

static void parts_found(struct obj_call *call)
{
	struct obj_collector *c = collector_of(call);
	struct obj_key key;

	if (obj_call_failed(call))
		return;
	if (c->seen == 0) {
		if (c->trash.kind == OBJ_TRASH_UPLOAD)
			remove_keys(c, OBJ_SPACE_MANIFESTS, c->partition);
		else
			keys_found(call); /* none but the trash's own */
		return;
	}
	if (c->count == 0) {
		work_on(c);
		return;
	}
	if (!obj_change_begin(call))
		return;
	call->partition = c->partition;
	for (uint32_t i = 0; i < c->count; i++) {
		obj_part_key(call, c->trash.id, (unsigned)c->parts[i].version, &key);
		obj_change_delete(call, &key, c->part_versions[i]);
		obj_change_drop_data(call, c->partition, &c->parts[i]);
	}
	obj_change_submit(call, parts_removed);
}

static void find_parts(struct obj_collector *c)
{
	struct obj_call *call = &c->call;
	struct kv_cmd cmd = {
		.op = KV_SCAN,
		.flags = KV_SCAN_PARTITION,
		.partition = (uint16_t)c->partition,
		.limit = PARTS,
		.visit = part_visit,
		.visitor = c,
	};
	struct obj_key end;

	if (!obj_call_work(call, &call->made_buf, KEY_MAX))
		return;
	call->partition = c->partition;
	obj_part_key(call, c->trash.id, c->last_part + 1, &call->key);
	obj_part_key(call, c->trash.id, UINT16_MAX, &end);
	memcpy(call->made_buf->data, end.data, end.size);
	cmd.key = obj_key_bytes(&call->key);
	cmd.end = bytes_of(call->made_buf->data, end.size);
	c->count = 0;
	c->seen = 0;
	obj_call_kv(call, &cmd, parts_found);
}

static void manifest_read(struct obj_call *call)
{
	struct obj_collector *c = collector_of(call);
	struct obj_manifest_entry entry;

	/* Its object was removed: the trash says so by now. */
	if (call->other.version == 0) {
		go_on(c);
		return;
	}
	for (uint32_t i = 0; i < call->other.size / OBJ_MANIFEST_ENTRY; i++) {
		obj_manifest_get(call->other.buf->data, i, &entry);
		if (entry.number <= OBJ_PARTS_MAX)
			c->named[entry.number / 64] |= 1ull << entry.number % 64;
	}
	c->manifest++;
	work_on(c);
}

static void work_on(struct obj_collector *c)
{
	uint32_t manifests = (c->trash.part_count + OBJ_MANIFEST_PARTS - 1) / OBJ_MANIFEST_PARTS;

	if (c->stopping) {
		obj_call_finish(&c->call, STATUS_OK, 0);
		return;
	}
	switch ((enum obj_trash_kind)c->trash.kind) {
	case OBJ_TRASH_INTENT:
	case OBJ_TRASH_DATA:
		remove_keys(c, OBJ_SPACE_DATA, obj_data_partition(c->trash.id));
		return;
	case OBJ_TRASH_UPLOAD:
		find_parts(c);
		return;
	case OBJ_TRASH_REST:
		if (c->manifest == manifests) {
			find_parts(c);
			return;
		}
		obj_manifest_key(c->partition, c->trash.id, c->manifest, &c->call.key);
		obj_call_fetch(&c->call, &c->call.other, manifest_read);
		return;
	}
	unreachable();
}

/* From open to close. */

static void started(struct obj_call *call)
{
	collector_of(call)->floor = call->engine->number_next;
	obj_call_finish(call, STATUS_OK, 0);
}

void obj_collector_start(struct obj_engine *engine, struct req *req)
{
	struct obj_collector *c = engine->collector;

	assert(!c->running);
	c->running = true;
	c->starting = req;
	obj_call_numbers(&c->call, 1, started);
}

void obj_collector_stop(struct obj_engine *engine)
{
	struct obj_collector *c = engine->collector;

	c->stopping = true;
	timer_cancel(&engine->worker->timers, &c->timer);
}

bool obj_collector_is_idle(const struct obj_engine *engine)
{
	return !engine->collector->running;
}

enum status obj_collector_open(struct obj_engine *engine)
{
	struct obj_collector *c = calloc(1, sizeof(*c));

	if (c == NULL)
		return STATUS_NO_SPACE;
	c->engine = engine;
	c->call.engine = engine;
	c->call.again = lost;
	engine->collector = c;
	return STATUS_OK;
}

void obj_collector_close(struct obj_engine *engine)
{
	if (engine->collector != NULL)
		timer_cancel(&engine->worker->timers, &engine->collector->timer);
	free(engine->collector);
	engine->collector = NULL;
}
