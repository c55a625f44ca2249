/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the block faces serve: the stacks that the configuration exports, and volumes as they come
 * and go, in a set of each worker. It stands before those faces in the list of faces, and listens
 * nowhere itself.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/assert.h"
#include "base/hash.h"
#include "cli/server.h"
#include "engine/store.h"
#include "server/export.h"

/* Of a worker. */
struct exports {
	struct export_set set;
	unsigned count;
	struct export list[CONF_STACKS_MAX];
	struct export volumes[VOLUMES_MAX]; /* by slot */
};
_Static_assert((int)CONF_STACKS_MAX + (int)VOLUMES_MAX <= (int)EXPORTS_MAX, "each has an id");
_Static_assert((int)VOLUME_NAME_MAX <= (int)EXPORT_NAME_SIZE_MAX, "every name fits");

/* The same at all workers and after every restart, and another one in every store. */
static void set_uuid(struct export *export, const struct store *store)
{
	char name[sizeof(store->super.uuid) + sizeof(export->name)];
	size_t size = sizeof(store->super.uuid), name_size = strlen(export->name);
	uint64_t half;

	memcpy(name, store->super.uuid, size);
	memcpy(name + size, export->name, name_size);
	half = hash64(bytes_of(name, size + name_size));
	memcpy(export->uuid, &half, sizeof(half));
	half = hash64(bytes_of(name + 1, size + name_size - 1));
	memcpy(export->uuid + 8, &half, sizeof(half));
	export->uuid[6] = (export->uuid[6] & 0x0f) | 0x80; /* RFC 9562: version 8 */
	export->uuid[8] = (export->uuid[8] & 0x3f) | 0x80;
}

static enum status open_here(struct host_worker *w, void *arg)
{
	struct host *host = w->host;
	struct exports *exports = calloc(1, sizeof(*exports));
	const unsigned *index = arg;

	if (exports == NULL)
		return host_fail(host, STATUS_NO_SPACE, "no memory for exports");
	export_set_init(&exports->set);
	for (unsigned i = 0; i < host->stack_count; i++) {
		const struct conf_stack *conf = host->stacks[i].conf;
		struct export *export = &exports->list[exports->count];
		enum status status;

		if (!conf->exported)
			continue;
		_Static_assert((int)CONF_NAME_MAX <= (int)EXPORT_NAME_SIZE_MAX, "every name fits");
		memcpy(export->name, conf->name, strlen(conf->name) + 1);
		set_uuid(export, host->store.store);
		export->blk = host->stacks[i].blks[w->worker.id];
		export->id = ++exports->count;
		export->read_only = conf->read_only;
		status = export_add(&exports->set, export);
		assert(status == STATUS_OK); /* names and ids are different */
	}
	w->faces[*index] = exports;
	w->exports = &exports->set;
	return STATUS_OK;
}

/* A volume that has the name of a stack is not served; it is there for who renames the stack. */
static void volume_appeared(void *owner, const struct volume_info *info, struct blk *blk)
{
	struct exports *exports = owner;
	struct export *export = &exports->volumes[info->slot];

	if (export->blk != NULL && export_at(&exports->set, export->id) == export) {
		exports->set.generation++;
		return;
	}
	*export = (struct export){
		.blk = blk,
		.id = CONF_STACKS_MAX + 1 + info->slot,
		.read_only = info->read_only,
	};
	memcpy(export->name, info->name, sizeof(info->name));
	memcpy(export->uuid, info->uuid, sizeof(info->uuid));
	if (export_add(&exports->set, export) != STATUS_OK)
		export->blk = NULL;
}

static bool volume_may_leave(void *owner, const struct volume_info *info, struct blk *blk)
{
	struct exports *exports = owner;
	struct export *export = &exports->volumes[info->slot];

	(void)blk;
	if (export->blk == NULL)
		return true;
	if (export->users > 0)
		return false;
	export_remove(&exports->set, export);
	export->blk = NULL;
	return true;
}

static enum status exports_open(struct host *host, unsigned index)
{
	struct host_volumes volumes = {
		.index = index,
		.appeared = volume_appeared,
		.may_leave = volume_may_leave,
	};
	enum status status = STATUS_OK;

	for (unsigned i = 0; i < host->count && status == STATUS_OK; i++)
		status = host_call(&host->workers[i], open_here, &index);
	if (status != STATUS_OK)
		return status;
	if (getrandom(&volumes.seed, sizeof(volumes.seed), 0) != sizeof(volumes.seed))
		return host_fail(host, STATUS_UNAVAILABLE, "this machine gives no random bytes");
	return host_volumes_open(host, &volumes);
}

static void exports_drain(void *state)
{
	(void)state;
}

static bool exports_are_drained(const void *state)
{
	(void)state;
	return true; /* the faces that serve them are not, as long as somebody uses one */
}

static void exports_close(void *state)
{
	free(state);
}

const struct face face_exports = {
	.name = "exports",
	.open = exports_open,
	.drain = exports_drain,
	.kill = exports_drain,
	.is_drained = exports_are_drained,
	.close = exports_close,
};
