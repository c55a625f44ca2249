/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory for arguments of more than a buffer: SET of 500 MB. A few slots of address space, whose
 * pages come when they are touched and go when the call has ended.
 */
#include <stdlib.h>
#include <sys/mman.h>

#include "base/assert.h"
#include "base/macros.h"
#include "server/resp_internal.h"

enum { SLOTS = 4 };
#define SLOT_SIZE ((size_t)KV_VALUE_MAX + (1 << 20))

struct resp_large {
	uint8_t *memory;
	struct slot {
		struct resp_call *user; /* NULL: free */
		size_t used;
	} slots[SLOTS];
};

size_t resp_large_memory(void)
{
	return sizeof(struct resp_large);
}

enum status resp_large_open(struct resp_server *server)
{
	struct resp_large *large = calloc(1, sizeof(*large));

	if (large == NULL)
		return STATUS_NO_SPACE;
	large->memory = mmap(NULL, SLOTS * SLOT_SIZE, PROT_READ | PROT_WRITE,
	                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (large->memory == MAP_FAILED) {
		free(large);
		return STATUS_NO_SPACE;
	}
	server->large = large;
	return STATUS_OK;
}

void resp_large_close(struct resp_server *server)
{
	for (unsigned i = 0; i < SLOTS; i++)
		assert(server->large->slots[i].user == NULL);
	munmap(server->large->memory, SLOTS * SLOT_SIZE);
	free(server->large);
	server->large = NULL;
}

/* The slot of `user`; NULL: it has none. */
static struct slot *slot_find(struct resp_large *large, const struct resp_call *user)
{
	for (unsigned i = 0; i < SLOTS; i++) {
		if (large->slots[i].user == user)
			return &large->slots[i];
	}
	return NULL;
}

uint8_t *resp_large_take(struct resp_call *call, size_t size)
{
	struct resp_large *large = call->server->large;
	struct slot *slot = slot_find(large, call->large ? call : NULL);
	uint8_t *memory;

	if (slot == NULL || size > SLOT_SIZE - slot->used ||
	    align_up(size, 16) > call->server->values_max - call->server->values_used)
		return NULL;
	memory = large->memory + (size_t)(slot - large->slots) * SLOT_SIZE + slot->used;
	slot->user = call;
	slot->used += align_up(size, 16);
	call->server->values_used += align_up(size, 16);
	call->large = true;
	return memory;
}

void resp_large_free(struct resp_call *call)
{
	struct resp_large *large = call->server->large;
	struct slot *slot = slot_find(large, call);

	assert(call->large && slot != NULL);
	madvise(large->memory + (size_t)(slot - large->slots) * SLOT_SIZE,
	        align_up(slot->used, BUF_ALIGN), MADV_DONTNEED);
	assert(call->server->values_used >= slot->used);
	call->server->values_used -= slot->used;
	*slot = (struct slot){ .user = NULL };
	call->large = false;
}
