/* SPDX-License-Identifier: Apache-2.0 */
/* The keys that clients of a simulated store use, and what their values say. */
#include "base/assert.h"
#include "sim_store_clients.h"

uint8_t store_space(unsigned space)
{
	static const uint8_t spaces[STORE_SPACES] = { KV_SPACE_REDIS, KV_SPACE_REDIS_MEMBERS + 1,
		                                      KV_SPACE_APP };

	return spaces[space];
}

unsigned store_space_first(unsigned space, unsigned count)
{
	return count * space / STORE_SPACES;
}

unsigned store_space_of(unsigned index, unsigned count)
{
	unsigned space = 0;

	while (store_space_first(space + 1, count) <= index)
		space++;
	return space;
}

/* Space, index in two bytes, and a tail whose size depends on the index. */
struct bytes store_key(unsigned index, unsigned count, uint8_t *room)
{
	size_t tail = index % 13 == 0 ? 250 : index * 7 % 40;

	room[0] = store_space(store_space_of(index, count));
	room[1] = (uint8_t)(index >> 8);
	room[2] = (uint8_t)index;
	memset(room + 3, 'k', tail);
	assert(3 + tail <= STORE_KEY_MAX);
	return bytes_of(room, 3 + tail);
}

int store_key_index(struct bytes key)
{
	return key.size < 3 ? -1 : key.data[1] << 8 | key.data[2];
}

uint64_t store_entry_number(const struct kv_entry *entry)
{
	uint64_t number;

	if (entry->version == 0)
		return 0;
	if (entry->blob)
		return (uint64_t)STORE_NUMBER_UNKNOWN;
	number = kv_model_number(entry->value);
	return number == 0 || entry->size != entry->value.size ? (uint64_t)STORE_NUMBER_FORGED
	                                                       : number;
}
