/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "obj_rig.h"
#include "sim_obj.h"

static const struct obj_put nothing = { .flags = 0 };

/* Clients: a task is a few commands, one after another. */

static void client_next(struct sim_obj_client *c);

struct client_frame {
	struct frame frame;
	struct sim_obj_client *client;
};

static void client_done(struct req *req)
{
	struct sim_obj_client *c = req_pop(req, struct client_frame)->client;

	c->rig->seen++;
	client_next(c);
}

static void client_see(void *visitor, const struct obj_entry *entry)
{
	struct sim_obj_client *c = visitor;

	if (entry->meta.flags & OBJ_IS_MARKER)
		return;
	assert_int_equal(entry->meta.etag.size, 8);
	memcpy(&c->seed, entry->meta.etag.data, 8);
	c->size = entry->meta.size;
}

static void client_submit(struct sim_obj_client *c, struct obj_cmd cmd)
{
	cmd.bucket = BYTES("bucket");
	cmd.name = bytes_of(c->name->text, strlen(c->name->text));
	req_init(&c->req, c->rig->env.workers[c->worker]);
	req_push(&c->req, struct client_frame, client_done)->client = c;
	obj_submit(obj_engine_obj(c->rig->engines[c->worker]), &c->req, &cmd);
}

static void client_end(struct sim_obj_client *c)
{
	c->busy = false;
	c->rig->ended++;
}

static const struct obj_put *client_put(struct sim_obj_client *c, uint64_t seed)
{
	memcpy(c->etag, &seed, 8);
	c->put = (struct obj_put){ .etag = { c->etag, 8 } };
	return &c->put;
}

/* Whether the change that was under way is there now. */
static void settle(struct sim_obj_client *c, uint64_t made)
{
	struct sim_obj_name *name = c->name;

	if (c->req.status == STATUS_OK) {
		c->rig->acked++;
		name->acked = made;
		name->versions++;
	} else {
		assert_true(c->req.status == STATUS_BUSY || c->req.status == STATUS_NO_SPACE);
	}
	name->changing = name->deleting = false;
	name->pending = 0;
}

static void begin_change(struct sim_obj_client *c, uint64_t seed, bool deleting)
{
	c->name->pending = seed;
	c->name->deleting = deleting;
	c->name->changing = true;
}

static void next_put(struct sim_obj_client *c)
{
	if (c->step++ > 0) {
		settle(c, c->seed);
		client_end(c);
		return;
	}
	obj_fill(c->seed, 0, c->data, c->size);
	begin_change(c, c->seed, false);
	client_submit(c, (struct obj_cmd){ .op = OBJ_PUT,
	                                   .put = client_put(c, c->seed),
	                                   .value = bytes_of(c->data, c->size) });
}

/* Steps: created, written.., committed or aborted. */
static void next_stream(struct sim_obj_client *c)
{
	uint64_t piece;

	if (c->step == 0) {
		c->step = 1;
		client_submit(c, (struct obj_cmd){ .op = OBJ_CREATE });
		return;
	}
	if (c->step == 3 || c->step == 4) {
		if (c->step == 3)
			settle(c, c->seed);
		if (c->step == 3 && c->req.status != STATUS_OK) {
			c->step = 4;
			client_submit(c, (struct obj_cmd){ .op = OBJ_ABORT, .handle = c->handle });
			return;
		}
		client_end(c);
		return;
	}
	if (c->step == 1 && c->req.status != STATUS_OK) {
		client_end(c);
		return;
	}
	if (c->step == 1)
		c->handle = c->req.result;
	if (c->step == 2 && c->req.status != STATUS_OK)
		c->size = 0; /* given up */
	c->step = 2;
	if (c->at < c->size) {
		piece = 1 + prng_below(&c->rig->prng, 90000);
		if (piece > c->size - c->at)
			piece = c->size - c->at;
		obj_fill(c->seed, c->at, c->data, piece);
		c->at += piece;
		client_submit(c, (struct obj_cmd){ .op = OBJ_WRITE,
		                                   .handle = c->handle,
		                                   .value = bytes_of(c->data, piece) });
		return;
	}
	if (c->size == 0 || prng_below(&c->rig->prng, 4) == 0) {
		c->step = 4;
		client_submit(c, (struct obj_cmd){ .op = OBJ_ABORT, .handle = c->handle });
		return;
	}
	c->step = 3;
	begin_change(c, c->seed, false);
	client_submit(c, (struct obj_cmd){ .op = OBJ_COMMIT,
	                                   .handle = c->handle,
	                                   .put = client_put(c, c->seed) });
}

static void next_delete(struct sim_obj_client *c)
{
	if (c->step++ > 0) {
		bool was = c->name->acked != 0;

		settle(c, 0);
		if (c->req.status == STATUS_OK && !c->rig->versioned)
			assert_int_equal(c->req.result, was ? OBJ_REMOVED : OBJ_WAS_ABSENT);
		client_end(c);
		return;
	}
	begin_change(c, 0, true);
	client_submit(c, (struct obj_cmd){ .op = OBJ_DELETE });
}

/* Steps: opened, read.., released. Names of others, too: what is seen must be whole. */
static void next_read(struct sim_obj_client *c)
{
	switch (c->step) {
	case 0:
		c->step = 1;
		client_submit(
		        c, (struct obj_cmd){ .op = OBJ_OPEN, .visit = client_see, .visitor = c });
		return;
	case 1:
		if (c->req.status != STATUS_OK) {
			assert_true(c->req.status == STATUS_NOT_FOUND ||
			            c->req.status == STATUS_BUSY);
			client_end(c);
			return;
		}
		c->handle = c->req.result;
		break;
	case 2:
		assert_int_equal(c->req.status, STATUS_OK);
		assert_true(obj_is_filled(c->seed, c->at, c->data, c->req.result));
		c->at += c->req.result;
		if (c->req.result == 0) {
			assert_int_equal(c->at, c->size);
			c->step = 3;
			client_submit(c,
			              (struct obj_cmd){ .op = OBJ_RELEASE, .handle = c->handle });
			return;
		}
		break;
	default:
		client_end(c);
		return;
	}
	c->step = 2;
	client_submit(c, (struct obj_cmd){ .op = OBJ_READ,
	                                   .handle = c->handle,
	                                   .offset = c->at,
	                                   .out = c->data,
	                                   .out_size = 50000 });
}

static void upload_answered(struct sim_obj_client *c)
{
	bool ok = c->req.status == STATUS_OK;

	assert_true(ok || c->req.status == STATUS_BUSY || c->req.status == STATUS_NO_SPACE);
	switch (c->step) {
	case 1: /* created */
		c->creating = false;
		c->upload = ok ? c->req.result : 0;
		c->parts = 0;
		break;
	case 2: /* a part */
		c->parts += ok && c->seed == c->parts;
		break;
	default: /* aborted, completed */
		if (c->step == 4)
			settle(c, c->upload_seed);
		c->ending = false;
		c->upload = ok ? 0 : c->upload;
		break;
	}
	client_end(c);
}

static void complete_upload(struct sim_obj_client *c)
{
	for (unsigned i = 0; i < c->parts; i++)
		c->complete_parts[i] = (struct obj_complete_part){ .number = i + 1 };
	c->complete = (struct obj_complete){ .parts = c->complete_parts, .count = c->parts };
	c->step = 4;
	c->ending = true;
	begin_change(c, c->upload_seed, false);
	client_submit(c, (struct obj_cmd){ .op = OBJ_UPLOAD_COMPLETE,
	                                   .upload = c->upload,
	                                   .complete = &c->complete,
	                                   .put = client_put(c, c->upload_seed) });
}

static void next_upload(struct sim_obj_client *c)
{
	if (c->step > 0) {
		upload_answered(c);
		return;
	}
	if (c->upload == 0) {
		c->step = 1;
		c->creating = true;
		c->upload_seed = c->seed;
		client_submit(c, (struct obj_cmd){ .op = OBJ_UPLOAD_CREATE, .put = &nothing });
		return;
	}
	if (c->parts > 0 && prng_below(&c->rig->prng, 4) == 0) {
		complete_upload(c);
		return;
	}
	if (prng_below(&c->rig->prng, 8) == 0) {
		c->step = 3;
		c->ending = true;
		client_submit(c, (struct obj_cmd){ .op = OBJ_UPLOAD_ABORT, .upload = c->upload });
		return;
	}
	/* The next part, or one that is there once more. */
	c->step = 2;
	c->seed = c->parts < SIM_OBJ_PARTS ? prng_below(&c->rig->prng, c->parts + 1)
	                                   : prng_below(&c->rig->prng, SIM_OBJ_PARTS);
	obj_fill(c->upload_seed, c->seed * SIM_OBJ_PART_SIZE, c->data, SIM_OBJ_PART_SIZE);
	client_submit(c, (struct obj_cmd){ .op = OBJ_PUT,
	                                   .upload = c->upload,
	                                   .part = (uint16_t)(c->seed + 1),
	                                   .put = &nothing,
	                                   .value = bytes_of(c->data, SIM_OBJ_PART_SIZE) });
}

/* In order, each name once, none that nobody puts; what it tells of may be read at once. */
static void list_see(void *visitor, const struct obj_entry *entry)
{
	struct sim_obj_client *c = visitor;
	char name[sizeof(c->listed)] = "";

	assert_true(entry->name.size == 4 && entry->name.data[0] == 'c');
	memcpy(name, entry->name.data, entry->name.size);
	assert_true(strcmp(name, c->listed) > 0);
	assert_false(entry->meta.flags & OBJ_IS_MARKER);
	memcpy(c->listed, name, sizeof(name));
	c->at++;
}

static void next_list(struct sim_obj_client *c)
{
	if (c->step == 0) {
		c->step = 1;
		c->listed[0] = '\0';
	} else if (c->req.status != STATUS_OK || c->req.result == 0) {
		assert_true(c->req.status == STATUS_OK || c->req.status == STATUS_BUSY);
		assert_true(c->at <= SIM_OBJ_CLIENTS * SIM_OBJ_NAMES);
		client_end(c);
		return;
	}
	c->list = (struct obj_list){
		.limit = 1 + (uint32_t)(c->seed % 5),
		.after = bytes_of(c->listed, strlen(c->listed)),
	};
	client_submit(c,
	              (struct obj_cmd){
	                      .op = OBJ_LIST, .list = &c->list, .visit = list_see, .visitor = c });
}

static void client_next(struct sim_obj_client *c)
{
	static void (*const tasks[TASKS])(struct sim_obj_client *) = {
		[TASK_PUT] = next_put,   [TASK_STREAM] = next_stream, [TASK_DELETE] = next_delete,
		[TASK_READ] = next_read, [TASK_UPLOAD] = next_upload, [TASK_LIST] = next_list,
	};

	tasks[c->task](c);
}

static void client_start(struct sim_obj_client *c)
{
	struct sim_obj *rig = c->rig;
	struct sim_obj_client *other = &rig->clients[prng_below(&rig->prng, SIM_OBJ_CLIENTS)];

	c->busy = true;
	c->worker = (unsigned)prng_below(&rig->prng, rig->workers);
	c->task = (uint8_t)prng_below(&rig->prng, TASKS);
	c->step = 0;
	c->at = 0;
	c->seed = rig->next_seed++;
	c->size = prng_below(&rig->prng, prng_below(&rig->prng, 2) == 0 ? 6000 : SIM_OBJ_SIZE_MAX);
	c->name = &c->names[prng_below(&rig->prng, SIM_OBJ_NAMES)];
	if (c->task == TASK_UPLOAD)
		c->name = &c->names[0];
	else if (c->task == TASK_READ)
		c->name = &other->names[prng_below(&rig->prng, SIM_OBJ_NAMES)];
	else if (c->name == &c->names[0] && c->name->changing)
		c->name = &c->names[1];
	client_next(c);
	sim_wake(rig->sim, 0, c->worker);
}

void sim_obj_play(struct sim_obj *rig, uint64_t steps)
{
	for (uint64_t i = 0; i < steps; i++) {
		struct sim_obj_client *c = &rig->clients[prng_below(&rig->prng, SIM_OBJ_CLIENTS)];

		if (!c->busy && prng_below(&rig->prng, 8) == 0)
			client_start(c);
		sim_step(rig->sim);
	}
}
