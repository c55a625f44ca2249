/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the block faces serve: the stacks that the configuration exports, in a set of each worker.
 * It stands before those faces in the list of faces, and listens nowhere itself.
 */
#include <stdlib.h>
#include <string.h>

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
};

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

static enum status exports_open(struct host *host, unsigned index)
{
	enum status status = STATUS_OK;

	for (unsigned i = 0; i < host->count && status == STATUS_OK; i++)
		status = host_call(&host->workers[i], open_here, &index);
	return status;
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
