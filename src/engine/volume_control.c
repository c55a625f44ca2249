/* SPDX-License-Identifier: Apache-2.0 */
/* CREATE, SNAPSHOT, CLONE, RESIZE, DELETE: at the leader, one at a time. */
#include "base/assert.h"
#include "base/macros.h"
#include "engine/volume_state.h"

/* A command on its way to the leader and back. */
struct control_frame {
	struct frame frame;
	struct volumes *home;
	const struct volume_cmd *cmd; /* NULL: START */
	enum status status;
};

static void control_done(struct req *req)
{
	(void)req;
	unreachable();
}

/* At home. */
static void control_returned(struct req *req)
{
	struct control_frame *frame = req_pop(req, struct control_frame);

	assert(req->worker == frame->home->worker);
	req->state = REQ_RUNNING;
	req_complete(req, frame->status, 0);
}

static void command_end(struct volume_leader *leader, enum status status)
{
	struct req *req = leader->command;
	struct control_frame *frame = req_top(req, struct control_frame);

	leader->command = NULL;
	leader->busy = false;
	frame->status = status;
	worker_send(frame->home->worker, req, control_returned);
	volume_leader_idle(leader);
}

static void command_changed(struct volume_leader *leader)
{
	if (leader->status == STATUS_OK)
		volume_collect(leader);
	command_end(leader, leader->status);
}

static void set_name(char *to, struct bytes name)
{
	memset(to, 0, VOLUME_NAME_MAX + 1);
	memcpy(to, name.data, name.size);
}

/* A volume that is about to be. */
static enum status entry_make(struct volume_leader *leader, struct bytes name,
                              struct volume_entry *entry)
{
	uint64_t half[2] = { prng_next(&leader->prng), prng_next(&leader->prng) };
	uint32_t slot = 0;

	if (!volume_name_is_sound(name))
		return STATUS_INVALID;
	if (volume_entry_find(leader, name) != NULL)
		return STATUS_EXISTS;
	while (slot < VOLUMES_MAX && leader->entries[slot].used)
		slot++;
	/* Two: a layer that is made is there before another is gone. */
	if (slot == VOLUMES_MAX || volume_layer_find(leader, 0) == NULL)
		return STATUS_NO_SPACE;
	entry->used = true;
	entry->record.slot = (uint16_t)slot;
	entry->record.created_ms = leader->engine->worker->wall_ms;
	memcpy(entry->record.uuid, half, sizeof(half));
	entry->record.uuid[6] = (entry->record.uuid[6] & 0x0f) | 0x40; /* RFC 9562: version 4 */
	entry->record.uuid[8] = (entry->record.uuid[8] & 0x3f) | 0x80;
	set_name(entry->name, name);
	return STATUS_OK;
}

static bool size_is_sound(uint64_t size, unsigned record_shift)
{
	return size > 0 && size <= VOLUME_SIZE_MAX && (size & ((1ull << record_shift) - 1)) == 0;
}

static enum status create(struct volume_leader *leader, const struct volume_cmd *cmd)
{
	uint32_t shift = cmd->record_shift == 0 ? VOLUME_RECORD_SHIFT_MIN : cmd->record_shift;
	struct volume_entry entry = { .record = { .record_shift = (uint8_t)shift,
		                                  .size = cmd->size } };
	struct volume_layer layer = { .number = 0 };
	enum status status;

	if (shift < VOLUME_RECORD_SHIFT_MIN || shift > VOLUME_RECORD_SHIFT_MAX ||
	    !size_is_sound(cmd->size, shift))
		return STATUS_INVALID;
	status = entry_make(leader, cmd->name, &entry);
	if (status != STATUS_OK)
		return status;
	layer.number = layer.record.family = volume_change_number(leader);
	entry.record.layer = layer.number;
	volume_change_layer(leader, &layer, /* goes= */ false);
	volume_change_entry(leader, &entry);
	return STATUS_OK;
}

/* A new layer in front of the newest one of `of`. */
static enum status layer_make(struct volume_leader *leader, const struct volume_entry *of,
                              struct volume_layer *layer)
{
	const struct volume_layer *parent = volume_layer_find(leader, of->record.layer);

	if (volume_layer_depth(leader, parent->number) == VOLUME_DEPTH_MAX)
		return STATUS_TOO_LARGE;
	layer->record = (struct volume_layer_record){
		.parent = parent->number,
		.family = parent->record.family,
		.visible = of->record.size >> of->record.record_shift,
	};
	layer->number = volume_change_number(leader);
	volume_change_layer(leader, layer, /* goes= */ false);
	return STATUS_OK;
}

static enum status snapshot(struct volume_leader *leader, const struct volume_cmd *cmd)
{
	const struct volume_entry *of = volume_entry_find(leader, cmd->name);
	struct volume_entry volume, entry;
	struct volume_layer layer = { .number = 0 };
	enum status status;

	if (of == NULL)
		return STATUS_NOT_FOUND;
	if (of->record.flags & VOLUME_READ_ONLY)
		return STATUS_DENIED;
	entry = volume = *of;
	status = entry_make(leader, cmd->other, &entry);
	if (status == STATUS_OK)
		status = layer_make(leader, of, &layer);
	if (status != STATUS_OK)
		return status;
	entry.record.flags |= VOLUME_READ_ONLY;
	set_name(entry.origin, cmd->name);
	volume.record.layer = layer.number;
	volume_change_entry(leader, &entry);
	volume_change_entry(leader, &volume);
	return STATUS_OK;
}

static enum status clone(struct volume_leader *leader, const struct volume_cmd *cmd)
{
	const struct volume_entry *of = volume_entry_find(leader, cmd->name);
	struct volume_layer layer = { .number = 0 };
	struct volume_entry entry;
	enum status status;

	if (of == NULL)
		return STATUS_NOT_FOUND;
	if (!(of->record.flags & VOLUME_READ_ONLY))
		return STATUS_READ_ONLY;
	entry = *of;
	status = entry_make(leader, cmd->other, &entry);
	if (status == STATUS_OK)
		status = layer_make(leader, of, &layer);
	if (status != STATUS_OK)
		return status;
	entry.record.flags &= (uint8_t)~VOLUME_READ_ONLY;
	entry.record.layer = layer.number;
	set_name(entry.origin, cmd->name);
	volume_change_entry(leader, &entry);
	return STATUS_OK;
}

static enum status resize(struct volume_leader *leader, const struct volume_cmd *cmd)
{
	const struct volume_entry *of = volume_entry_find(leader, cmd->name);
	struct volume_entry entry;
	struct volume_layer layer;
	uint64_t records;

	if (of == NULL)
		return STATUS_NOT_FOUND;
	if (of->record.flags & VOLUME_READ_ONLY)
		return STATUS_DENIED;
	if (!size_is_sound(cmd->size, of->record.record_shift))
		return STATUS_INVALID;
	entry = *of;
	layer = *volume_layer_find(leader, entry.record.layer);
	if (cmd->size > entry.record.size && (layer.record.flags & VOLUME_LAYER_TAIL))
		return STATUS_BUSY;
	records = cmd->size >> entry.record.record_shift;
	if (cmd->size < entry.record.size) {
		layer.record.flags |= VOLUME_LAYER_TAIL;
		if (layer.record.visible > records)
			layer.record.visible = records;
		volume_change_layer(leader, &layer, /* goes= */ false);
	}
	entry.record.size = cmd->size;
	volume_change_entry(leader, &entry);
	return STATUS_OK;
}

/* Its layers are the collector's, when nothing else needs them. */
static enum status delete (struct volume_leader *leader, const struct volume_cmd *cmd) {
	const struct volume_entry *of = volume_entry_find(leader, cmd->name);
	struct volume_entry entry;

	if (of == NULL) return STATUS_NOT_FOUND;
	entry = *of;
	entry.used = false;
	leader->change.asks = true;
	volume_change_entry(leader, &entry);
	return STATUS_OK;
}

/* Opening. */

static void start_told(struct volume_leader *leader)
{
	volume_collect(leader);
	command_end(leader, STATUS_OK);
}

static void start_loaded(struct volume_leader *leader)
{
	if (leader->status != STATUS_OK) {
		command_end(leader, leader->status);
		return;
	}
	volume_change_begin(leader);
	for (uint32_t i = 0; i < VOLUMES_MAX; i++) {
		if (leader->entries[i].used)
			volume_change_slot(leader, i);
	}
	volume_tell_images(leader, start_told);
}

static void command_begin(struct volume_leader *leader, struct req *req)
{
	static enum status (*const run[VOLUME_OP_COUNT])(struct volume_leader * leader,
	                                                 const struct volume_cmd *cmd) = {
		[VOLUME_CREATE] = create, [VOLUME_SNAPSHOT] = snapshot, [VOLUME_CLONE] = clone,
		[VOLUME_RESIZE] = resize, [VOLUME_DELETE] = delete,
	};
	const struct volume_cmd *cmd = req_top(req, struct control_frame)->cmd;
	enum status status;

	leader->busy = true;
	leader->command = req;
	if (cmd == NULL) {
		volume_load(leader, start_loaded);
		return;
	}
	assert(cmd->op < VOLUME_OP_COUNT);
	volume_change_begin(leader);
	status = run[cmd->op](leader, cmd);
	if (status == STATUS_OK)
		volume_change_make(leader, command_changed);
	else
		command_end(leader, status);
}

static void collector_changed(struct volume_leader *leader)
{
	struct volume_collector *c = &leader->collector;
	volume_leader_fn *next = c->next;

	leader->busy = false;
	next(leader);
	volume_leader_idle(leader);
}

void volume_leader_idle(struct volume_leader *leader)
{
	struct volume_collector *c = &leader->collector;
	struct req *req = STAILQ_FIRST(&leader->queue);

	if (leader->busy)
		return;
	if (req != NULL) {
		STAILQ_REMOVE_HEAD(&leader->queue, link);
		command_begin(leader, req);
	} else if (c->change != NULL) {
		volume_leader_fn *change = c->change;

		c->change = NULL;
		leader->busy = true;
		volume_change_begin(leader);
		change(leader);
		volume_change_make(leader, collector_changed);
	}
}

static void control_arrived(struct req *req)
{
	struct volume_leader *leader = req_top(req, struct control_frame)->home->first->leader;

	STAILQ_INSERT_TAIL(&leader->queue, req, link);
	volume_leader_idle(leader);
}

_Static_assert(align_up(sizeof(struct control_frame), 16) <= VOLUME_CONTROL_FRAME, "what is said");

/* NULL: the leader begins. */
void volume_control_submit(struct volumes *engine, struct req *req, const struct volume_cmd *cmd)
{
	struct control_frame *frame = req_push(req, struct control_frame, control_done);

	assert(req->worker == engine->worker && engine->first != NULL);
	frame->home = engine;
	frame->cmd = cmd;
	worker_send(engine->first->worker, req, control_arrived);
}

void volumes_start(struct volumes *engine, struct req *req)
{
	assert(engine->leader != NULL);
	req->state = REQ_RUNNING;
	volume_control_submit(engine, req, NULL);
}
