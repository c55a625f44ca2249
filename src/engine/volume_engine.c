/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "base/assert.h"
#include "base/macros.h"
#include "engine/volume_state.h"

enum { CALLS_DEFAULT = 128, PARTS_DEFAULT = 256 };
#define COLLECT_WAIT_NS 1000000000ull

struct part_frame {
	struct frame frame;
};

/* The frame only keeps the command: nobody below completes the parent's request. */
static void waits_done(struct req *req)
{
	(void)req;
	unreachable();
}

static volume_step_fn *step_of(const struct volume_call *call)
{
	switch (call->kind) {
	case VOLUME_CALL_READ:
		return volume_read;
	case VOLUME_CALL_WRITE:
		return volume_write;
	case VOLUME_CALL_RANGE:
		return volume_range;
	case VOLUME_CALL_MAP:
		return volume_map;
	}
	unreachable();
	return NULL;
}

static void parent_complete(struct req *parent, enum status status, uint64_t result)
{
	req_pop(parent, struct volume_waits);
	parent->state = REQ_RUNNING;
	req_complete(parent, status, result);
}

/* It was checked when it was submitted; since then the volume may have been resized. */
static bool range_is_there(const struct volume *volume, uint64_t lba, uint64_t count)
{
	uint64_t all = volume->blk.geometry.block_count;

	return volume->image.used && lba <= all && count <= all - lba;
}

static void call_set(struct volume_call *call, const struct volume_waits *waits)
{
	if (waits->is_map) {
		call->map = waits->map;
		call->first = waits->map.lba;
		call->kind = VOLUME_CALL_MAP;
		return;
	}
	call->cmd = waits->cmd;
	call->first = waits->cmd.lba;
	call->kind = waits->cmd.op == BLK_READ ? VOLUME_CALL_READ : VOLUME_CALL_RANGE;
	/* Zeroes that are to keep their room are blocks like others. */
	if (waits->cmd.op == BLK_WRITE ||
	    (waits->cmd.op == BLK_ZEROES && !(waits->cmd.flags & BLK_UNMAP)))
		call->kind = VOLUME_CALL_WRITE;
}

static void call_start(struct volumes *engine, struct req *req)
{
	const struct volume_waits *waits = req_top(req, struct volume_waits);
	struct volume *volume = waits->volume;
	uint64_t lba = waits->is_map ? waits->map.lba : waits->cmd.lba;
	uint64_t count = waits->is_map ? waits->map.block_count : waits->cmd.block_count;
	struct volume_call *call = STAILQ_FIRST(&engine->calls_free);

	assert(!volume->frozen && call != NULL);
	if (!range_is_there(volume, lba, count)) {
		parent_complete(req, volume->image.used ? STATUS_INVALID : STATUS_UNAVAILABLE, 0);
		return;
	}
	STAILQ_REMOVE_HEAD(&engine->calls_free, link);
	*call = (struct volume_call){ .volume = volume, .parent = req };
	call_set(call, waits);
	engine->stats.calls++;
	engine->stats.reads += call->kind == VOLUME_CALL_READ;
	engine->stats.writes += call->kind == VOLUME_CALL_WRITE;
	engine->stats.discards += call->kind == VOLUME_CALL_RANGE;
	volume->running++;
	step_of(call)(call);
}

static bool may_start(const struct volumes *engine, const struct volume *volume)
{
	return !STAILQ_EMPTY(&engine->calls_free) && !volume->frozen;
}

static void take(struct volume *volume, struct req *req)
{
	struct volumes *engine = volume->engine;

	/* What waits for a call goes first; what waits for a volume keeps no other waiting. */
	if (may_start(engine, volume))
		call_start(engine, req);
	else
		STAILQ_INSERT_TAIL(&engine->waiting, req, link);
}

static void submit_cmd(struct blk *blk, struct req *req, const struct blk_cmd *cmd)
{
	struct volume *volume = container_of(blk, struct volume, blk);
	struct volume_waits *waits;

	if (cmd->op == BLK_FLUSH) { /* a write has completed when it is durable */
		req_complete(req, STATUS_OK, 0);
		return;
	}
	waits = req_push(req, struct volume_waits, waits_done);
	waits->volume = volume;
	waits->is_map = false;
	waits->cmd = *cmd;
	take(volume, req);
}

static void submit_map(struct blk *blk, struct req *req, const struct blk_map_cmd *cmd)
{
	struct volume *volume = container_of(blk, struct volume, blk);
	struct volume_waits *waits = req_push(req, struct volume_waits, waits_done);

	waits->volume = volume;
	waits->is_map = true;
	waits->map = *cmd;
	take(volume, req);
}

const struct blk_ops volume_ops = {
	.name = "volume",
	.submit = submit_cmd,
	.map = submit_map,
};

static void go_on(struct req *kick)
{
	struct volumes *engine = container_of(kick, struct volumes, kick);
	struct req_list all = STAILQ_HEAD_INITIALIZER(all);
	struct req *req;

	engine->kicked = false;
	STAILQ_CONCAT(&all, &engine->waiting);
	while ((req = STAILQ_FIRST(&all)) != NULL) {
		struct volume *volume = req_top(req, struct volume_waits)->volume;

		STAILQ_REMOVE_HEAD(&all, link);
		if (may_start(engine, volume))
			call_start(engine, req);
		else
			STAILQ_INSERT_TAIL(&engine->waiting, req, link);
	}
}

void volumes_go_on(struct volumes *engine)
{
	if (engine->kicked || STAILQ_EMPTY(&engine->waiting))
		return;
	engine->kicked = true;
	worker_send(engine->worker, &engine->kick, go_on);
}

void volume_call_finish(struct volume_call *call)
{
	struct volume *volume = call->volume;
	struct volumes *engine = volume->engine;

	assert(call->parts == 0 && !call->hungry);
	if (call->work != NULL)
		buf_unref(call->work);
	parent_complete(call->parent, call->status, call->result);
	assert(engine->stats.calls > 0 && volume->running > 0);
	engine->stats.calls--;
	volume->running--;
	STAILQ_INSERT_HEAD(&engine->calls_free, call, link);
	if (volume->frozen)
		volumes_frozen(engine);
	volumes_go_on(engine);
}

/* Parts. */

struct volume_part *volume_part_get(struct volume_call *call)
{
	struct volumes *engine = call->volume->engine;
	struct volume_part *part = STAILQ_FIRST(&engine->parts_free);

	if (part == NULL) {
		if (!call->hungry)
			STAILQ_INSERT_TAIL(&engine->hungry, call, hungry_link);
		call->hungry = true;
		return NULL;
	}
	STAILQ_REMOVE_HEAD(&engine->parts_free, link);
	if (call->hungry)
		STAILQ_REMOVE(&engine->hungry, call, volume_call, hungry_link);
	call->hungry = false;
	memset(part, 0, offsetof(struct volume_part, req));
	part->call = call;
	req_init(&part->req, engine->worker);
	call->parts++;
	engine->stats.parts++;
	return part;
}

void volume_part_free(struct volume_part *part)
{
	struct volume_call *call = part->call, *hungry;
	struct volumes *engine = call->volume->engine;

	assert(call->parts > 0 && engine->stats.parts > 0);
	if (part->batch != NULL)
		buf_unref(part->batch);
	call->parts--;
	engine->stats.parts--;
	STAILQ_INSERT_HEAD(&engine->parts_free, part, link);
	hungry = STAILQ_FIRST(&engine->hungry);
	if (hungry == NULL)
		return;
	STAILQ_REMOVE_HEAD(&engine->hungry, hungry_link);
	hungry->hungry = false;
	if (hungry != call) /* that one goes on by itself */
		step_of(hungry)(hungry);
}

void volume_part_submit(struct volume_part *part, const struct kv_cmd *cmd, req_fn *done)
{
	req_push(&part->req, struct part_frame, done);
	kv_submit(part->call->volume->engine->kv, &part->req, cmd);
}

struct volume_part *volume_part_of(struct req *req)
{
	req_pop(req, struct part_frame);
	return container_of(req, struct volume_part, req);
}

/* Opened and closed. */

static unsigned calls_max(const struct volumes_options *options)
{
	return options->calls_max != 0 ? options->calls_max : CALLS_DEFAULT;
}

static unsigned parts_max(const struct volumes_options *options)
{
	return options->parts_max != 0 ? options->parts_max : PARTS_DEFAULT;
}

size_t volumes_memory(const struct volumes_options *options)
{
	return sizeof(struct volumes) + VOLUMES_MAX * sizeof(struct volume) +
	       calls_max(options) * sizeof(struct volume_call) +
	       parts_max(options) * sizeof(struct volume_part) +
	       (options->leads ? sizeof(struct volume_leader) : 0);
}

static bool engine_make(struct volumes *engine)
{
	engine->volumes = calloc(VOLUMES_MAX, sizeof(*engine->volumes));
	engine->calls = calloc(calls_max(&engine->options), sizeof(*engine->calls));
	engine->parts = calloc(parts_max(&engine->options), sizeof(*engine->parts));
	if (engine->options.leads)
		engine->leader = calloc(1, sizeof(*engine->leader));
	engine->zeroes = calloc(1, 1 << VOLUME_RECORD_SHIFT_MAX);
	if (engine->zeroes == NULL || engine->volumes == NULL || engine->calls == NULL ||
	    engine->parts == NULL || (engine->options.leads && engine->leader == NULL))
		return false;
	for (unsigned i = 0; i < VOLUMES_MAX; i++)
		engine->volumes[i].engine = engine;
	for (unsigned i = 0; i < calls_max(&engine->options); i++)
		STAILQ_INSERT_TAIL(&engine->calls_free, &engine->calls[i], link);
	for (unsigned i = 0; i < parts_max(&engine->options); i++)
		STAILQ_INSERT_TAIL(&engine->parts_free, &engine->parts[i], link);
	return true;
}

static struct volume_info *info_at(struct volumes *engine, uint32_t slot, struct blk **blk)
{
	struct volume *volume = &engine->volumes[slot];

	assert(slot < VOLUMES_MAX);
	if (!volume->image.used)
		return NULL;
	if (blk != NULL)
		*blk = &volume->blk;
	return &volume->image.info;
}

static const struct volume_info *set_at(struct volume_set *set, uint32_t slot)
{
	return info_at(container_of(set, struct volumes, set), slot, NULL);
}

static void set_submit(struct volume_set *set, struct req *req, const struct volume_cmd *cmd)
{
	volume_control_submit(container_of(set, struct volumes, set), req, cmd);
}

static const struct volume_set_ops set_ops = {
	.name = "volumes",
	.submit = set_submit,
	.at = set_at,
};

enum status volumes_open(struct volumes **out, const struct volumes_options *options)
{
	struct volumes *engine = calloc(1, sizeof(*engine));

	assert(options->kv->traits.sorted && options->kv->traits.transactional);
	if (engine == NULL)
		return STATUS_NO_SPACE;
	engine->options = *options;
	if (engine->options.collect_wait_ns == 0)
		engine->options.collect_wait_ns = COLLECT_WAIT_NS;
	engine->kv = options->kv;
	engine->worker = options->kv->worker;
	engine->bufs = options->bufs;
	STAILQ_INIT(&engine->calls_free);
	STAILQ_INIT(&engine->parts_free);
	STAILQ_INIT(&engine->hungry);
	STAILQ_INIT(&engine->waiting);
	if (!engine_make(engine)) {
		volumes_close(engine);
		return STATUS_NO_SPACE;
	}
	if (engine->leader != NULL)
		volume_leader_init(engine->leader, engine);
	req_init(&engine->kick, engine->worker);
	engine->set = (struct volume_set){
		.ops = &set_ops,
		.worker = engine->worker,
		.frames_size = VOLUME_CONTROL_FRAME,
	};
	*out = engine;
	return STATUS_OK;
}

void volumes_join(struct volumes *engine, struct volumes *const *all, unsigned count)
{
	assert(count > 0 && count <= WORKER_PEERS_MAX);
	memcpy(engine->peers, all, count * sizeof(all[0]));
	engine->peer_count = count;
	for (unsigned i = 0; i < count; i++) {
		if (all[i]->leader == NULL)
			continue;
		assert(engine->first == NULL); /* else: two of them lead */
		engine->first = all[i];
	}
	assert(engine->first != NULL);
}

bool volumes_are_idle(const struct volumes *engine)
{
	return engine->stats.calls == 0 && STAILQ_EMPTY(&engine->waiting) && !engine->kicked &&
	       (engine->leader == NULL ||
	        (!engine->leader->busy && !engine->leader->collector.running));
}

void volumes_stop(struct volumes *engine)
{
	if (engine->leader != NULL)
		volume_collect_stop(engine->leader);
}

void volumes_close(struct volumes *engine)
{
	free(engine->leader);
	free(engine->volumes);
	free(engine->zeroes);
	free(engine->calls);
	free(engine->parts);
	free(engine);
}

struct volume_set *volumes_set(struct volumes *engine)
{
	return &engine->set;
}

const struct volume_info *volumes_find(struct volumes *engine, struct bytes name, struct blk **blk)
{
	for (uint32_t i = 0; i < VOLUMES_MAX; i++) {
		const struct volume_info *info = info_at(engine, i, blk);

		if (info != NULL && bytes_equal(name, bytes_of(info->name, strlen(info->name))))
			return info;
	}
	return NULL;
}

void volumes_stats(const struct volumes *engine, struct volumes_stats *out)
{
	*out = engine->stats;
}
