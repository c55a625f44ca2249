/* SPDX-License-Identifier: Apache-2.0 */
#include "server/export.h"

#include <string.h>

#include "base/assert.h"

void export_set_init(struct export_set *set)
{
	memset(set, 0, sizeof(*set));
}

enum status export_add(struct export_set *set, struct export *export)
{
	uint32_t name_size = (uint32_t)strnlen(export->name, sizeof(export->name));

	assert(export->id >= 1 && export->id <= EXPORTS_MAX);
	assert(export->blk != NULL && export->users == 0 && !export->removed);
	assert(name_size >= 1 && name_size <= EXPORT_NAME_SIZE_MAX);
	if (set->slots[export->id - 1] != NULL || export_find(set, export->name, name_size) != NULL)
		return STATUS_EXISTS;
	set->slots[export->id - 1] = export;
	set->generation++;
	return STATUS_OK;
}

bool export_remove(struct export_set *set, struct export *export)
{
	assert(set->slots[export->id - 1] == export && !export->removed);
	export->removed = true;
	set->slots[export->id - 1] = NULL;
	set->generation++;
	return export->users == 0;
}

struct export *export_find(struct export_set *set, const char *name, uint32_t name_size)
{
	for (uint32_t i = 0; i < EXPORTS_MAX; i++) {
		struct export *export = set->slots[i];

		if (export != NULL && strlen(export->name) == name_size &&
		    memcmp(export->name, name, name_size) == 0)
			return export;
	}
	return NULL;
}

struct export *export_at(struct export_set *set, uint32_t id)
{
	return id >= 1 && id <= EXPORTS_MAX ? set->slots[id - 1] : NULL;
}

void export_enter(struct export *export)
{
	assert(!export->removed);
	export->users++;
}

bool export_leave(struct export *export)
{
	assert(export->users > 0);
	export->users--;
	return export->removed && export->users == 0;
}
