/* SPDX-License-Identifier: Apache-2.0 */
/* What the block faces serve: block devices by name, a list of them at each worker. */
#ifndef SERVER_EXPORT_H
#define SERVER_EXPORT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "proto/blk.h"

enum {
	EXPORTS_MAX = 256,         /* at a worker; NVMe namespaces have the ids 1..EXPORTS_MAX */
	EXPORT_NAME_SIZE_MAX = 64, /* bytes, without the zero */
};

/*
 * One device. It belongs to the set; its address stays the same until it is removed. Faces read it,
 * and count themselves in `users` while a connection of theirs may submit to it.
 */
struct export
{
	char name[EXPORT_NAME_SIZE_MAX + 1];
	uint8_t uuid[16];
	struct blk *blk; /* of the set's worker; whoever added it closes it after it is removed */
	uint32_t id;     /* 1..EXPORTS_MAX, the same at all workers and as long as it is served */
	uint32_t users;  /* connections of this worker */
	bool read_only;
	bool removed; /* no new users; gone when the last one leaves */
};

/* The devices that one worker's faces serve. All calls at that worker; none blocks. */
struct export_set {
	struct export *slots[EXPORTS_MAX]; /* by id - 1; NULL: free */
	uint64_t generation; /* moves when a device comes or goes or changes its size */
};

void export_set_init(struct export_set *set);

/* Serves *export, which the caller keeps, until export_remove() and until nobody uses it. EXISTS:
 * its id or its name is taken. */
enum status export_add(struct export_set *set, struct export *export);

/* It is found no more. True: nobody uses it and the caller may close it; otherwise the one whose
 * export_leave() says true may. */
bool export_remove(struct export_set *set, struct export *export);

/* NULL: none of that name, or it is being removed. */
struct export *export_find(struct export_set *set, const char *name, uint32_t name_size);
struct export *export_at(struct export_set *set, uint32_t id); /* NULL: none */

void export_enter(struct export *export);
bool export_leave(struct export *export); /* true: it was removed and this was its last user */

#endif
